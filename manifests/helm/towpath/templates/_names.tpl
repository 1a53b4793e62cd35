{{/* Labels of everything: the one that flannel's manifest has, and a cluster's own. */}}
{{- define "towpath.labels" -}}
{{- toYaml (merge (dict "k8s-app" "flannel") (.Values.global.commonLabels | default dict)) }}
{{- end }}

{{/* Labels of what belongs to the DaemonSet. */}}
{{- define "towpath.nodeLabels" -}}
{{- toYaml (merge (deepCopy .Values.flannel.selectorLabels) (dict "app" "flannel" "k8s-app" "flannel" "tier" "node") (.Values.global.commonLabels | default dict)) }}
{{- end }}

{{/* net-conf.json as a value, so that it is JSON whatever the values are. Given (dict "values" .Values). */}}
{{- define "towpath.netConf" -}}
{{- $flannel := .values.flannel }}
{{- $conf := dict }}
{{- with .values.podCidr }}{{ $_ := set $conf "Network" . }}{{ else }}{{ $_ := set $conf "EnableIPv4" false }}{{ end }}
{{- with .values.podCidrv6 }}{{ $_ := set $conf "IPv6Network" . }}{{ $_ := set $conf "EnableIPv6" true }}{{ end }}
{{- $options := dict "vxlan" (dict "backendPort" "Port" "mtu" "MTU" "vni" "VNI" "GBP" "GBP" "learning" "Learning" "directRouting" "DirectRouting" "macPrefix" "MacPrefix") }}
{{- $_ := set $options "wireguard" (dict "backendPort" "ListenPort" "backendPortv6" "ListenPortV6" "mtu" "MTU" "psk" "PSK" "tunnelMode" "Mode" "keepaliveInterval" "PersistentKeepaliveInterval") }}
{{- $_ := set $options "ipip" (dict "mtu" "MTU" "directRouting" "DirectRouting") }}
{{- $_ := set $options "udp" (dict "backendPort" "Port") }}
{{- $backend := dict "Type" $flannel.backend }}
{{- range $value, $key := get $options $flannel.backend | default dict }}
{{- with get $flannel $value }}
{{- if kindIs "float64" . }}{{ $_ := set $backend $key (int64 .) }}{{ else }}{{ $_ := set $backend $key . }}{{ end }}
{{- end }}
{{- end }}
{{- if $backend.PSK }}{{ $_ := set $backend "PSK" (toString $backend.PSK) }}{{ end }}
{{- $backend = mergeOverwrite $backend (deepCopy ($flannel.backendOptions | default dict)) }}
{{- $conf = mergeOverwrite $conf (deepCopy ($flannel.netConf | default dict)) }}
{{- $_ := set $conf "Backend" $backend }}
{{- toPrettyJson $conf }}
{{- end }}

{{/* Whether the daemon listens on BGP's port, which is below 1024. */}}
{{- define "towpath.speaksBgp" -}}
{{- $flannel := .Values.flannel }}
{{- if or (eq $flannel.backend "bgp") (hasKey ($flannel.netConf | default dict) "BGP") }}yes{{ end }}
{{- end }}
