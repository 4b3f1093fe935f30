{{/*
What templates have in common. Names have at most 63 characters, which is what a label may have; that of the release's
objects 53, so that each can end with what it is.
*/}}

{{- define "idmap.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "idmap.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Of objects that belong to the whole cluster: two releases of one name can be in two namespaces. */}}
{{- define "idmap.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "idmap.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "idmap.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "idmap.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed with serviceAccount.create: false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "idmap.selectorLabels" -}}
app.kubernetes.io/name: {{ include "idmap.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: driver
{{- end -}}

{{- define "idmap.fuseHostSelectorLabels" -}}
app.kubernetes.io/name: {{ include "idmap.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: fuse-host
{{- end -}}

{{- define "idmap.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "idmap.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: csi-driver-idmap
{{- end -}}

{{- define "idmap.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What is the driver's own on a node: its socket and its records. */}}
{{- define "idmap.pluginDir" -}}
{{- printf "%s/plugins/%s" .Values.kubeletDir .Values.driverName -}}
{{- end -}}

{{/* As variables, so that `doctor` in the container knows them too. */}}
{{- define "idmap.placeEnv" -}}
- name: CSI_IDMAP_DRIVER_NAME
  value: {{ .Values.driverName | quote }}
- name: CSI_IDMAP_KUBELET_DIR
  value: {{ .Values.kubeletDir | quote }}
{{- end -}}

{{- define "idmap.policy" -}}
{{- toYaml .Values.policy -}}
{{- end -}}

{{/* What both DaemonSets have in common: where their pods run, and as what. */}}
{{- define "idmap.scheduling" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{ end -}}
priorityClassName: {{ .Values.priorityClassName | quote }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What both see of the node, and the policy. */}}
{{- define "idmap.rootMounts" -}}
{{- range $i, $root := .Values.volumeRoots }}
# What is mounted there later is seen too; nothing is mounted from here.
- name: root-{{ $i }}
  mountPath: {{ $root.path }}
  mountPropagation: {{ default "HostToContainer" $root.mountPropagation }}
  {{- if $root.readOnly }}
  readOnly: true
  {{- end }}
{{- end }}
{{- end -}}

{{- define "idmap.volumes" -}}
- name: kubelet
  hostPath:
    path: {{ .Values.kubeletDir }}
    type: Directory
{{- range $i, $root := .Values.volumeRoots }}
- name: root-{{ $i }}
  hostPath:
    path: {{ $root.path }}
    type: DirectoryOrCreate
{{- end }}
- name: dev
  hostPath:
    path: /dev
    type: Directory
- name: policy
  configMap:
    name: {{ include "idmap.fullname" . }}-policy
- name: tmp
  emptyDir:
    medium: Memory
    sizeLimit: 64Mi
{{- end -}}

{{/* A number of bytes, or text; Helm has large numbers as floating point. */}}
{{- define "idmap.quantity" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* Whether the path .path is the directory .directory or lies below it. */}}
{{- define "idmap.isWithin" -}}
{{- if or (eq .path .directory) (hasPrefix (printf "%s/" .directory) .path) (eq .directory "/") -}}yes{{- end -}}
{{- end -}}

{{/*
Combinations that cannot work, said when the chart is rendered rather than by a driver that does not start.
*/}}
{{- define "idmap.validate" -}}
{{- $v := .Values -}}
{{- if le ($v.fuse.host.terminationGracePeriodSeconds | int64) ($v.fuse.host.grace | int64) -}}
{{- fail "fuse.host.terminationGracePeriodSeconds must be more than fuse.host.grace, or fuse-host is killed while it waits" -}}
{{- end -}}
{{- if and $v.admissionPolicy.enabled (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "admissionPolicy.enabled needs Kubernetes 1.30, and this cluster has %s. Set it to false" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $v.metrics.podMonitor.enabled $v.metrics.serviceMonitor.enabled -}}
{{- fail "metrics.podMonitor.enabled and metrics.serviceMonitor.enabled would each scrape every pod. Enable one of the two" -}}
{{- end -}}
{{- if not $v.securityContext.privileged -}}
{{- fail "securityContext.privileged: false cannot work: Kubernetes admits mountPropagation: Bidirectional in privileged containers only, and without it no pod would see a volume" -}}
{{- end -}}
{{- $socket := printf "%s/plugins_registry/%s-reg.sock" $v.kubeletDir $v.driverName -}}
{{- if gt (len $socket) 107 -}}
{{- fail (printf "kubeletDir and driverName are too long: the path of a socket has at most 107 bytes, and %s has %d" $socket (len $socket)) -}}
{{- end -}}
{{- range $v.volumeRoots -}}
{{- $path := .path -}}
{{- range list "/" "/proc" "/sys" "/dev" "/etc" "/etc/csi-driver-idmap" "/usr" "/usr/bin" "/usr/sbin" "/usr/lib" "/usr/local" "/usr/local/bin" "/usr/local/lib" "/var" "/bin" "/sbin" "/lib" "/lib64" "/tmp" "/var/run" "/run" -}}
{{- if eq $path . -}}
{{- fail (printf "volumeRoots: %s would hide the driver's own files. List the directories below it that volumes come from" $path) -}}
{{- end -}}
{{- end -}}
{{- if or (include "idmap.isWithin" (dict "path" $path "directory" $v.kubeletDir)) (include "idmap.isWithin" (dict "path" $v.kubeletDir "directory" $path)) -}}
{{- fail (printf "volumeRoots: %s and kubeletDir %s lie within one another. Volumes never come from there" $path $v.kubeletDir) -}}
{{- end -}}
{{- end -}}
{{- $shown := list -}}
{{- range $v.volumeRoots }}{{ $shown = append $shown .path }}{{ end -}}
{{- range $v.extraVolumeMounts }}{{ $shown = append $shown .mountPath }}{{ end -}}
{{- range $i, $rule := $v.policy.rules -}}
{{- range $j, $root := $rule.roots -}}
{{- $place := printf "policy.rules[%d].roots[%d].path %s" $i $j $root.path -}}
{{- /* As far as it is the same for all. */ -}}
{{- $fixed := default "/" (regexReplaceAll "/[^/]*[$][{].*$" $root.path "") -}}
{{- $seen := eq $fixed "/" -}}
{{- range $shown -}}
{{- if include "idmap.isWithin" (dict "path" $fixed "directory" .) -}}{{- $seen = true -}}{{- end -}}
{{- if include "idmap.isWithin" (dict "path" . "directory" $fixed) -}}{{- $seen = true -}}{{- end -}}
{{- if and $root.requireMountpoint (eq $root.path .) -}}
{{- fail (printf "%s: requireMountpoint would always hold, because the container has a mount there whatever the node has. List the directory above it in volumeRoots in its place" $place) -}}
{{- end -}}
{{- end -}}
{{- if not $seen -}}
{{- fail (printf "%s: the driver does not see it. Add it to volumeRoots" $place) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
