{{- /* What depends on two keys, which the schema cannot say: tfsdeploy/fleet/check.py. */ -}}
{{- define "tfsdeploy.check" -}}
{{- $s := .Values.serving -}}
{{- $least := $s.replicas | default 1 -}}
{{- if $s.autoscale -}}
{{- if $s.replicas }}{{ fail "serving.replicas: found beside autoscale; write only one of them" }}{{ end -}}
{{- if not $s.resources.cpu }}{{ fail "serving.autoscale: measured in parts of resources.cpu, which is missing; write it too" }}{{ end -}}
{{- if gt $s.autoscale.min $s.autoscale.max }}{{ fail "serving.autoscale.max: less than min" }}{{ end -}}
{{- $least = $s.autoscale.min -}}
{{- end -}}
{{- if gt (int64 ($s.minAvailable | default 1)) (int64 $least) }}{{ fail (printf "serving.minAvailable: more than the %d replicas" (int64 $least)) }}{{ end -}}
{{- if and (eq (int64 $s.surge) 0) (eq (int64 $s.unavailable) 0) }}{{ fail "serving.surge: found 0 with unavailable 0: no replica could ever be replaced; raise one" }}{{ end -}}
{{- $kept := int64 ($s.minAvailable | default (ternary 1 0 (gt (int64 $least) 1))) -}}
{{- if gt (add (int64 $s.unavailable) $kept) (max (int64 $least) $kept) }}{{ fail (printf "serving.unavailable: leaves less than minAvailable of %d replicas; write at most %d" (int64 $least) (sub (int64 $least) $kept)) }}{{ end -}}
{{- if and (hasKey $s.flags "tensorflow_session_parallelism") (or (hasKey $s.flags "tensorflow_intra_op_parallelism") (hasKey $s.flags "tensorflow_inter_op_parallelism")) }}{{ fail "serving.flags: tensorflow_session_parallelism sets the other two; write only one of them" }}{{ end -}}
{{- if and (not (kindIs "invalid" $s.batching)) (hasKey $s.flags "platform_config_file") }}{{ fail "serving.flags.platform_config_file: found beside batching, which the server ignores then; write only one of them" }}{{ end -}}
{{- if and .Values.monitoring.alerts (not .Values.monitoring.podMonitor) }}{{ fail "monitoring.alerts: the rules read what the PodMonitor labels; write podMonitor: true too" }}{{ end -}}
{{- $o := .Values.storeOptions | default dict -}}
{{- if and $o.caFile (not $o.caConfigMap) }}{{ fail "storeOptions.caFile: pods do not see it; write caConfigMap beside it, the ConfigMap that has it as ca.crt" }}{{ end -}}
{{- range $found := list (list "serving.resources.memory" $s.resources.memory 1) (list "serving.disk" $s.disk 1) (list "storeOptions.bandwidth" $o.bandwidth 1) (list "gateway.resources.memory" .Values.gateway.resources.memory 1) (list "agent.resources.memory" .Values.agent.resources.memory 64) -}}
{{- if not (kindIs "invalid" (index $found 1)) -}}
{{- $bytes := include "tfsdeploy.bytes" (include "tfsdeploy.text" (index $found 1)) | int64 -}}
{{- if or (lt $bytes (mul (last $found) 1048576)) (gt $bytes 1125899906842624) }}{{ fail (printf "%s: found %s; write an amount with its unit, from %dMi to 1Pi" (first $found) (include "tfsdeploy.text" (index $found 1)) (last $found)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $scheme := splitList "://" .Values.store | first -}}
{{- if has $scheme (list "s3" "gs" "az") -}}
{{- if and (ne $scheme "s3") (or $o.region (hasKey $o "pathStyle")) }}{{ fail (printf "storeOptions: region and pathStyle are only for s3://, not for %s://" $scheme) }}{{ end -}}
{{- if and $o.anonymous $o.credentialsSecret }}{{ fail "storeOptions.anonymous: found true beside credentialsSecret; write only one of them" }}{{ end -}}
{{- else -}}
{{- range list "endpoint" "region" "credentialsSecret" "pathStyle" "caFile" "caConfigMap" "bandwidth" }}{{ if hasKey $o . }}{{ fail (printf "storeOptions.%s: not for a %s:// store; leave it out" . $scheme) }}{{ end }}{{ end -}}
{{- if and (eq $scheme "file") (not (hasPrefix "file:///" .Values.store)) }}{{ fail "store: a folder of each node needs an absolute path; write file:///srv/models" }}{{ end -}}
{{- end -}}
{{- if and (ne $scheme "file") (has ".." (splitList "/" .Values.store)) }}{{ fail "store: a path with .. leaves the store" }}{{ end -}}
{{- with .Values.imageRegistry }}{{ if not (regexMatch "^(localhost|[^/]*[.:])" .) }}{{ fail (printf "imageRegistry: found %s; write a registry such as registry.example:5000/team" .) }}{{ end }}{{ end -}}
{{- $g := .Values.gateway -}}
{{- if or (eq (int64 $g.rest) 0) (eq (int64 $g.grpc) 0) (eq (int64 $g.rest) (int64 $g.grpc)) }}{{ fail "gateway: rest and grpc need two different ports, not 0" }}{{ end -}}
{{- if and (gt (float64 $g.perTryTimeoutSeconds) 0.0) (lt (float64 $g.perTryTimeoutSeconds) 0.001) }}{{ fail "gateway.perTryTimeoutSeconds: write 0 for never, or at least 0.001" }}{{ end -}}
{{- if regexMatch "^[0-9]" .Values.name }}{{ fail "name: names of Services begin with a letter; write another one" }}{{ end -}}
{{- range $name, $model := .Values.models -}}
{{- $known := list (int64 ($model.version | default 0)) -}}
{{- if and (not $model.version) (or $model.canary $model.labels) }}{{ fail (printf "models.%s: canary and labels need a pinned version beside them; write version: N" $name) }}{{ end -}}
{{- with $model.canary -}}
{{- if eq (int64 .version) (int64 $model.version) }}{{ fail (printf "models.%s.canary.version: the same as version" $name) }}{{ end -}}
{{- if lt (int64 $s.keep) 1 }}{{ fail (printf "models.%s.canary: 2 versions are pinned; write serving.keep: 1" $name) }}{{ end -}}
{{- $known = append $known (int64 .version) -}}
{{- end -}}
{{- range $label, $version := $model.labels -}}
{{- if not (has (int64 $version) $known) }}{{ fail (printf "models.%s.labels.%s: found %d, which is neither version nor canary" $name $label (int64 $version)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
