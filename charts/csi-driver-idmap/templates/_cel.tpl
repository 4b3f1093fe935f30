{{/*
A rule of the policy (docs/policy.md) as an expression of CEL over an inline volume `v` of a pod, as idmap.cel.volume has
it. It never refuses what the driver allows; what CEL cannot look into (`mounts`, option by option, ranges of ids,
patterns of servers, escaped colons) passes here, and is refused by the driver when the pod starts.

  idmap.cel.volume    the volume as a map of text: absent keys of volumeAttributes are what stands for them
  idmap.cel.rule      all that one rule asks for
  idmap.cel.globs     globs as a pattern of the whole of a text: `*` stands for any characters but a slash
  idmap.cel.inRoots   whether a path lies at or below one of some roots, as text
*/}}

{{- define "idmap.cel.volume" -}}
{
  "name": string(v.name),
  "readOnly": string(v.csi.?readOnly.orValue(false)),
  "type": string(v.csi.?volumeAttributes[?"type"].orValue("bind")),
  "fsType": string(v.csi.?volumeAttributes[?"fsType"].orValue(v.csi.?fsType.orValue("") == "" ? "auto" : v.csi.fsType)),
  "options": "," + string(v.csi.?volumeAttributes[?"options"].orValue("")) + ",",
  {{- range list "source" "lowerdir" "upperdir" "workdir" "writable" "idmap" "uidmap" "gidmap" "owner" "sizeLimit" "size" "mkfs" "mounts" }}
  {{ toJson . }}: string(v.csi.?volumeAttributes[?{{ toJson . }}].orValue("")),
  {{- end }}
}
{{- end -}}

{{- define "idmap.cel.globs" -}}
{{- $all := list -}}
{{- range . -}}
{{- $all = append $all (regexReplaceAll "[.+]" (toString .) "\\${0}" | replace "*" "[^/]*") -}}
{{- end -}}
{{- printf "^(?:%s)$" (join "|" $all) | toJson -}}
{{- end -}}

{{/* .roots, .path (an expression). Doubled slashes and single dots count for nothing, as the driver has it. */}}
{{- define "idmap.cel.inRoots" -}}
{{- $path := .path -}}
{{- $any := list -}}
{{- range .roots -}}
{{- $pattern := "^" -}}
{{- range splitList "/" .path -}}
{{- if . -}}
{{- $pattern = printf "%s/(?:\\.?/)*%s" $pattern (regexQuoteMeta . | replace "\\$\\{namespace\\}" "${namespace}" | replace "\\$\\{serviceAccount\\}" "${serviceAccount}") -}}
{{- end -}}
{{- end -}}
{{- $literal := printf "%s(?:/.*)?$" $pattern | toJson | replace "${namespace}" "\" + request.namespace + \"" | replace "${serviceAccount}" "\" + variables.serviceAccount.replace(\".\", \"\\\\.\") + \"" -}}
{{- $any = append $any (printf "%s.matches(%s)" $path $literal) -}}
{{- end -}}
{{- if $any -}}
(!{{ $path }}.matches("(^|/)\\.\\.(/|$)") && ({{ join " || " $any }}))
{{- else -}}
false
{{- end -}}
{{- end -}}

{{- define "idmap.cel.rule" -}}
{{- $readOnlyTypes := toJson (list "squashfs" "erofs" "iso9660" "cramfs" "romfs") -}}
{{- $network := toJson (list "nfs" "nfs4" "cifs" "smb3" "smbfs" "ceph" "9p" "afs" "coda" "orangefs" "lustre" "virtiofs") -}}
{{- $isReadOnly := printf "v.mkfs != \"true\" && (v.readOnly == \"true\" || v.options.contains(\",ro,\") || v.type in %s || v.fsType in %s)" $readOnlyTypes $readOnlyTypes -}}
{{- $writable := list -}}
{{- range default (list "no") .writable }}{{ $writable = append $writable (ternary "no" (toString .) (eq (toString .) "false")) }}{{ end -}}
{{- $readWrite := list -}}
{{- range .roots }}{{ if eq (default "read-only" .access) "read-write" }}{{ $readWrite = append $readWrite . }}{{ end }}{{ end -}}
{{- $kinds := dig "idmap" "kinds" (list) . -}}
{{- with .namespaces -}}
request.namespace.matches({{ include "idmap.cel.globs" . }}) &&
{{ end -}}
{{- with .serviceAccounts -}}
(variables.serviceAccount.matches({{ include "idmap.cel.globs" . }}) ||
  (request.namespace + "/" + variables.serviceAccount).matches({{ include "idmap.cel.globs" . }})) &&
{{ end -}}
(v.mounts != "" || (
  v.type.matches({{ include "idmap.cel.globs" .types }}) &&
  (!v.type.matches("^fuse3?\\.") || {{ with .helpers }}v.type.matches({{ printf "^fuse3?\\.(?:%s)$" (keys . | sortAlpha | join "|" | replace "." "\\." | replace "+" "\\+") | toJson }}){{ else }}false{{ end }}) &&
  (v.type != "image" || {{ with .fsTypes }}(v.mkfs == "true" && v.fsType == "auto" ? "ext4" : v.fsType).matches({{ include "idmap.cel.globs" . }}){{ else }}false{{ end }}) &&
  (v.type != "overlay" ||
    (v.writable != "" ? v.writable : v.upperdir != "" ? "persistent" : "no") in {{ toJson $writable }}) &&
  {{- if ne (toString .readOnlyViewsOnly) "false" }}
  (v.type in ["tmpfs", "overlay"] || v.type in {{ $network }} || (v.type.matches("^fuse3?\\.") && !v.source.startsWith("/")) ||
    (v.type != "bind" && {{ $isReadOnly }})) &&
  {{- end }}
  (v.type in ["tmpfs", "overlay"] || v.type in {{ $network }} || !v.source.startsWith("/") ||
    (v.source.startsWith("/dev/") ? {{ ternary "true" "false" (default false .devices) }} :
      {{ $isReadOnly }}
        ? {{ include "idmap.cel.inRoots" (dict "roots" .roots "path" "v.source") }}
        : {{ include "idmap.cel.inRoots" (dict "roots" $readWrite "path" "v.source") }})) &&
  (v.type != "overlay" || v.lowerdir.contains("\\") || (!v.lowerdir.contains("::") &&
    v.lowerdir.split(":").all(p, p == "" || {{ include "idmap.cel.inRoots" (dict "roots" .roots "path" "p") }}))) &&
  [v.upperdir, v.workdir].all(p, p == "" || {{ include "idmap.cel.inRoots" (dict "roots" $readWrite "path" "p") }}) &&
  {{- if not (has "explicit" $kinds) }}
  v.uidmap == "" && v.gidmap == "" &&
  {{- end }}
  {{- if not (has "owner" $kinds) }}
  v.owner == "" &&
  {{- end }}
  {{- if not (has "pod" $kinds) }}
  v.idmap != "pod" &&
  {{- end }}
  {{- with dig "sizeLimit" "max" "" . }}
  (!isQuantity(v.sizeLimit) || quantity(v.sizeLimit).compareTo(quantity({{ include "idmap.quantity" . | toJson }})) <= 0) &&
  {{- end }}
  {{- with dig "size" "max" "" . }}
  (!isQuantity(v.size) || quantity(v.size).compareTo(quantity({{ include "idmap.quantity" . | toJson }})) <= 0) &&
  {{- end }}
  {{ if .mkfs }}true{{ else }}v.mkfs != "true"{{ end }}
))
{{- end -}}
