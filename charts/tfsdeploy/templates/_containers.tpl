{{- /* What containers run, as tfsdeploy/render/kubernetes/containers.py says it; each as JSON of {"args": […]}. */ -}}
{{- define "tfsdeploy.replica-agent" -}}
{{- $store := printf "file:///models%s" .store.folder -}}
{{- $more := list -}}
{{- $cache := "" -}}
{{- if .store.cache }}{{ $cache = printf "%s/%s" (ternary "/models" "/var/cache/tfsdeploy" (.store.fetched | default false)) .store.cache.folder }}{{ end -}}
{{- if or .store.fetched .keys -}}
{{- $more = list (printf "--store-options=%s" (replace "$" "$$" .podStoreOptions)) -}}
{{- end -}}
{{- if .store.fetched -}}
{{- $store = .store.url -}}
{{- $more = append $more (printf "--models=%s" ($cache | default "/models")) -}}
{{- if .serving.disk }}{{ $more = append $more (printf "--disk=%d" (div (mul (include "tfsdeploy.bytes" .serving.disk | int64) 95) 100)) }}{{ end -}}
{{- end -}}
{{- dict "args" (concat (list "agent" "replica" "--in-cluster" (printf "--fleet=%s" .f.name) "--name=$(POD_NAME)" "--advertise=$(POD_IP)"
  (printf "--store=%s" (replace "$" "$$" $store)) (printf "--folder=%s" .f.run) "--server-rest=127.0.0.1:8501" "--server-grpc=127.0.0.1:8500"
  "--listen=0.0.0.0:8502" (printf "--verified-cache=%s/verified.json" ($cache | default .f.run))
  (printf "--drain-seconds=%s" (include "tfsdeploy.number" .serving.drainSeconds))) $more) | toRawJson -}}
{{- end }}

{{- define "tfsdeploy.gateway-agent" -}}
{{- $args := list "agent" "gateway" "--in-cluster" (printf "--fleet=%s" .f.name) "--name=$(POD_NAME)" (printf "--folder=%s" .f.run)
  "--admin-socket=admin.sock" "--listen=0.0.0.0:8502" (printf "--min-available=%d" (int64 .serving.minAvailable))
  (printf "--keep=%d" (int64 .serving.keep)) (printf "--drain-seconds=%s" (include "tfsdeploy.number" .f.gatewayDrainSeconds)) "--address=0.0.0.0"
  "--rest-port=8501" "--grpc-port=8500" (printf "--timeout-seconds=%s" (include "tfsdeploy.number" .gateway.timeoutSeconds))
  (printf "--per-try-timeout-seconds=%s" (include "tfsdeploy.number" .gateway.perTryTimeoutSeconds))
  (printf "--max-request-bytes=%d" (int64 .gateway.maxRequestBytes))
  (printf "--max-heap-bytes=%d" (div (mul (include "tfsdeploy.bytes" .gateway.resources.memory | int64) 85) 100)) -}}
{{- if .gateway.tls }}{{ $args = append $args (printf "--tls=%s" .f.certificateFolder) }}{{ end -}}
{{- dict "args" $args | toRawJson -}}
{{- end }}

{{- define "tfsdeploy.model-server" -}}
{{- $flags := deepCopy .f.serverFlags -}}
{{- $names := .f.serverFlagNames -}}
{{- $own := .serving.flags -}}
{{- if and .serving.resources.cpu (not (hasKey $own "tensorflow_session_parallelism")) -}}
{{- $threads := include "tfsdeploy.threads" .serving.resources.cpu -}}
{{- range list "tensorflow_intra_op_parallelism" "tensorflow_inter_op_parallelism" }}{{ $_ := set $flags . $threads }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- if not (kindIs "invalid" .serving.batching) -}}
{{- $_ := set $flags "enable_batching" "true" }}{{ $_ := set $flags "batching_parameters_file" .f.batchingFile -}}
{{- $names = concat $names (list "enable_batching" "batching_parameters_file") -}}
{{- end -}}
{{- range $name, $value := $own -}}
{{- if not (has $name $names) }}{{ $names = append $names $name }}{{ end -}}
{{- $_ := set $flags $name (ternary (include "tfsdeploy.text" $value) (include "tfsdeploy.flag" $value) (or (kindIs "string" $value) (kindIs "bool" $value))) -}}
{{- end -}}
{{- $args := list -}}
{{- range $names }}{{ $args = append $args (printf "--%s=%s" . (get $flags .) | replace "$" "$$") }}{{ end -}}
{{- dict "args" $args | toRawJson -}}
{{- end }}

{{- define "tfsdeploy.flag" -}}
{{- if or (kindIs "string" .) (kindIs "bool" .) }}{{ else }}{{ include "tfsdeploy.number" . }}{{ end -}}
{{- end }}

{{- define "tfsdeploy.threads" -}}
{{- $cores := float64 (trimSuffix "m" .) -}}
{{- if hasSuffix "m" . }}{{ $cores = divf $cores 1000 }}{{ end -}}
{{- max 1 (ceil $cores | int64) -}}
{{- end }}

{{- define "tfsdeploy.bytes" -}}
{{- $amount := regexFind "^[0-9.]+" . -}}
{{- $unit := trimPrefix $amount . -}}
{{- $units := dict "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (float64 $amount) (ternary 1 (get $units $unit) (eq $unit "")) | int64 -}}
{{- end }}

{{- /* The text BatchingParameters: tfsdeploy/render/serving.py, `batching_text`. */ -}}
{{- define "tfsdeploy.batching" -}}
{{- $batching := . -}}
{{- range list (list "maxBatchSize" "max_batch_size") (list "batchTimeoutMicros" "batch_timeout_micros") (list "numBatchThreads" "num_batch_threads") (list "maxEnqueuedBatches" "max_enqueued_batches") -}}
{{- if hasKey $batching (first .) }}{{ printf "%s { value: %d }\n" (last .) (int64 (get $batching (first .))) }}{{ end -}}
{{- end -}}
{{- end }}
