{{/* What every pod is held to: Kubernetes's "restricted" profile, no token for its API, no file to write. */}}
{{- define "etl.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "etl.container" -}}
image: {{ include "etl.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end }}

{{- define "etl.environment" -}}
- name: ETL_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.key }}
{{- if .Values.database.caConfigMap }}
- name: PGSSLROOTCERT
  value: /etc/etl-ca/ca.crt
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "etl.caMount" -}}
{{- if .Values.database.caConfigMap }}
- name: ca
  mountPath: /etc/etl-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "etl.caVolume" -}}
{{- with .Values.database.caConfigMap }}
- name: ca
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}

{{/* What a pod that syncs has beyond that: the configuration, and an identity in AWS. */}}
{{- define "etl.syncing" -}}
serviceAccountName: {{ include "etl.serviceAccount" . }}
terminationGracePeriodSeconds: 30  # it stops within 15 s
volumes:
  - name: config
    configMap:
      name: {{ include "etl.name" . }}
  {{- include "etl.caVolume" . | nindent 2 }}
{{- end }}

{{- define "etl.mounts" -}}
- name: config
  mountPath: /etc/etl
  readOnly: true
{{- include "etl.caMount" . }}
{{- end }}
