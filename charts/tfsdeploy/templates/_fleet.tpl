{{- /* What every object's template gets, as tfsdeploy/render/kubernetes/artefacts.py gives it: as JSON, for `fromJson`. */ -}}
{{- define "tfsdeploy.fleet" -}}
{{- include "tfsdeploy.check" . -}}
{{- $v := .Values -}}
{{- $f := .Files.Get "constants.json" | fromJson -}}
{{- $_ := set $f "name" $v.name -}}
{{- $_ := set $f "namespace" ($v.namespace | default .Release.Namespace) -}}
{{- $_ := set $f "pullSecrets" $v.imagePullSecrets -}}
{{- $_ := set $f "agentImage" (include "tfsdeploy.image" (dict "image" $v.agent.image "registry" $v.imageRegistry)) -}}
{{- $_ := set $f "agentShare" (include "tfsdeploy.quantities" $v.agent.resources | fromJson) -}}
{{- $_ := set $f "hungProbes" (max 3 (ceil (divf $v.gateway.timeoutSeconds $f.probeSeconds) | int64)) -}}
{{- $serving := deepCopy $v.serving -}}
{{- $least := $serving.replicas | default 1 -}}
{{- if $serving.autoscale }}{{ $least = $serving.autoscale.min }}{{ $_ := set $serving.autoscale "cpu" ($serving.autoscale.cpu | default 70) }}{{ end -}}
{{- $_ := set $serving "replicas" $least -}}
{{- $_ := set $serving "minAvailable" ($serving.minAvailable | default (div (add (int64 $least) 1) 2)) -}}
{{- $_ := set $serving "resources" (include "tfsdeploy.quantities" $serving.resources | fromJson) -}}
{{- if $serving.disk }}{{ $_ := set $serving "disk" (include "tfsdeploy.text" $serving.disk) }}{{ end -}}
{{- $gateway := deepCopy $v.gateway -}}
{{- $_ := set $gateway "resources" (include "tfsdeploy.quantities" $gateway.resources | fromJson) -}}
{{- $options := $v.storeOptions | default dict -}}
{{- $inPods := omit $options "caFile" -}}
{{- if $options.caConfigMap }}{{ $_ := set $inPods "caFile" (printf "%s/%s" $f.authorityFolder $f.authorityKey) }}{{ end -}}
{{- dict "f" $f "serving" $serving "gateway" $gateway "store" (merge (include "tfsdeploy.store" . | fromJson) (include "tfsdeploy.nodeCache" . | fromJson)) "storeOptions" (include "tfsdeploy.storeOptions" $options) "podStoreOptions" (include "tfsdeploy.storeOptions" $inPods) "keys" $options.requireSignature "credentials" $options.credentialsSecret "authority" $options.caConfigMap "authorityFolder" $f.authorityFolder "authorityKey" $f.authorityKey "monitoring" $v.monitoring | toRawJson -}}
{{- end }}

{{- /* A scalar as it is written: Go's own way would print 1767225600 as 1.7672256e+09. */ -}}
{{- define "tfsdeploy.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end -}}
{{- end }}

{{- /* A number as a flag's value: tfsdeploy/render/serving.py, `number`. */ -}}
{{- define "tfsdeploy.number" -}}
{{- if eq (float64 .) (floor .) }}{{ int64 . }}{{ else }}{{ printf "%.6g" (float64 .) }}{{ end -}}
{{- end }}

{{- define "tfsdeploy.quantities" -}}
{{- $made := dict -}}
{{- range $key, $value := . }}{{ $_ := set $made $key (ternary $value (include "tfsdeploy.text" $value) (eq $key "gpu")) }}{{ end -}}
{{- toRawJson $made -}}
{{- end }}

{{- /* tfsdeploy/render/images.py */ -}}
{{- define "tfsdeploy.image" -}}
{{- $first := splitList "/" .image | first -}}
{{- $namesOne := and (contains "/" .image) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) -}}
{{- if or (not .registry) $namesOne }}{{ .image }}{{ else }}{{ .registry }}/{{ .image }}{{ end -}}
{{- end }}

{{- /* tfsdeploy/render/kubernetes/volumes.py */ -}}
{{- define "tfsdeploy.store" -}}
{{- $v := .Values -}}
{{- $scheme := splitList "://" $v.store | first -}}
{{- $rest := trimPrefix (printf "%s://" $scheme) $v.store | trimAll "\n" -}}
{{- if ne $scheme "file" }}{{ $rest = regexReplaceAll "/+$" $rest "" }}{{ else }}{{ $rest = clean $rest }}{{ end -}}
{{- $head := splitList "/" $rest | first -}}
{{- $below := trimPrefix $head $rest -}}
{{- $inline := eq $v.serving.volume "inline" -}}
{{- $url := printf "%s://%s" $scheme $rest -}}
{{- if eq $scheme "pvc" -}}
{{- dict "url" $url "claim" $head "folder" $below "made" false | toRawJson -}}
{{- else if eq $scheme "nfs" -}}
{{- $path := $below | default "/" -}}
{{- if $inline }}{{ dict "url" $url "server" $head "path" $path "folder" "" "made" false | toRawJson }}
{{- else }}{{ dict "url" $url "claim" (printf "%s-models" $v.name) "server" $head "path" $path "folder" "" "made" true | toRawJson }}{{ end -}}
{{- else if has $scheme (list "s3" "gs" "az") -}}
{{- dict "url" $url "folder" "" "made" false "fetched" true | toRawJson -}}
{{- else if and (eq $scheme "file") $inline -}}
{{- dict "url" $url "path" $rest "folder" "" "made" false | toRawJson -}}
{{- else -}}
{{- fail (printf "store: pods cannot reach a %s:// store; use pvc://CLAIM/PATH, nfs://HOST/PATH or s3://BUCKET/PREFIX, or serving.volume: inline for a folder of each node" $scheme) -}}
{{- end -}}
{{- end }}

{{- define "tfsdeploy.nodeCache" -}}
{{- $v := .Values -}}
{{- if $v.serving.nodeCache -}}
{{- $url := (include "tfsdeploy.store" . | fromJson).url -}}
{{- $folder := printf "%s\n%s" $url ((($v.storeOptions | default dict).endpoint) | default "") | sha256sum | trunc 12 -}}
{{- $kind := ternary "claim" "path" (hasPrefix "pvc://" $v.serving.nodeCache) -}}
{{- dict "cache" (dict $kind (trimPrefix "pvc://" $v.serving.nodeCache) "folder" $folder) | toRawJson -}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{- /* How an object store is reached, as Python's json.dumps spells it. */ -}}
{{- define "tfsdeploy.storeOptions" -}}
{{- $o := . -}}
{{- $keys := list -}}
{{- range $o.requireSignature -}}
{{- if not (hasPrefix "ed25519:" .) }}{{ fail (printf "storeOptions.requireSignature: %s is a file, which a chart cannot read; write the key itself: ed25519: and what `openssl pkey -pubin -in FILE -outform DER | tail -c 32 | base64` prints" .) }}{{ end -}}
{{- $keys = append $keys (toRawJson .) -}}
{{- end -}}
{{- printf "{\"anonymous\": %s, \"bandwidth\": %s, \"ca_config_map\": %s, \"ca_file\": %s, \"conditional_writes\": %s, \"credentials_secret\": %s, \"endpoint\": %s, \"path_style\": %s, \"region\": %s, \"require_signature\": [%s]}" ($o.anonymous | default false | toRawJson) (ternary (include "tfsdeploy.text" (get $o "bandwidth") | toRawJson) "null" (hasKey $o "bandwidth")) (get $o "caConfigMap" | default nil | toRawJson) (get $o "caFile" | default nil | toRawJson) (ternary (get $o "conditionalWrites" | toRawJson) "true" (hasKey $o "conditionalWrites")) (get $o "credentialsSecret" | default nil | toRawJson) (get $o "endpoint" | default nil | toRawJson) (ternary (get $o "pathStyle" | toRawJson) "null" (hasKey $o "pathStyle")) (get $o "region" | default nil | toRawJson) (join ", " $keys) -}}
{{- end }}
