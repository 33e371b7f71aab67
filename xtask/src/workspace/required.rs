//! The fields that the API server insists on.
//!
//! k8s-openapi reads a missing required field as its default, so this table says what its types do
//! not: for each type that one of the known kinds can hold, the fields `required` in the `OpenAPI`
//! document of Kubernetes 1.34.

/// The required fields of the struct that a type of k8s-openapi names itself.
pub fn required(kind: &str) -> &'static [&'static str] {
    match kind {
        "Deployment" | "Service" | "Ingress" | "PodTemplateSpec" => &["metadata", "spec"],
        "ServiceAccount" => &["metadata"],
        "DeploymentSpec" => &["selector", "template"],
        "PodSpec" => &["containers"],
        "Container" => &["name", "image"],
        "ContainerPort" => &["containerPort"],
        "ContainerResizePolicy" => &["resourceName", "restartPolicy"],
        "EnvVar"
        | "EphemeralContainer"
        | "LocalObjectReference"
        | "PodOS"
        | "PodResourceClaim"
        | "PodSchedulingGate"
        | "ResourceClaim"
        | "Volume"
        | "ConfigMapEnvSource"
        | "SecretEnvSource"
        | "ConfigMapVolumeSource"
        | "ConfigMapProjection"
        | "SecretProjection"
        | "IngressServiceBackend" => &["name"],
        "HTTPHeader" | "Sysctl" => &["name", "value"],
        "HTTPGetAction" | "TCPSocketAction" | "GRPCAction" | "ServicePort" => &["port"],
        "SleepAction" => &["seconds"],
        "ConfigMapKeySelector" | "SecretKeySelector" => &["key", "name"],
        "FileKeySelector" => &["key", "path", "volumeName"],
        "ObjectFieldSelector" => &["fieldPath"],
        "ResourceFieldSelector" => &["resource"],
        "KeyToPath" => &["key", "path"],
        "VolumeMount" => &["name", "mountPath"],
        "VolumeDevice" => &["name", "devicePath"],
        "HostPathVolumeSource" | "DownwardAPIVolumeFile" | "ServiceAccountTokenProjection" => &["path"],
        "PersistentVolumeClaimVolumeSource" => &["claimName"],
        "CSIVolumeSource" => &["driver"],
        "NFSVolumeSource" => &["server", "path"],
        "HostAlias" => &["ip"],
        "PodReadinessGate" => &["conditionType"],
        "PodAffinityTerm" => &["topologyKey"],
        "WeightedPodAffinityTerm" => &["podAffinityTerm", "weight"],
        "PreferredSchedulingTerm" => &["preference", "weight"],
        "NodeSelector" => &["nodeSelectorTerms"],
        "NodeSelectorRequirement" | "LabelSelectorRequirement" => &["key", "operator"],
        "TopologySpreadConstraint" => &["maxSkew", "topologyKey", "whenUnsatisfiable"],
        "SeccompProfile" | "AppArmorProfile" => &["type"],
        "TypedLocalObjectReference" | "TypedObjectReference" => &["kind", "name"],
        "OwnerReference" => &["apiVersion", "kind", "name", "uid"],
        "HTTPIngressPath" => &["pathType", "backend"],
        "HTTPIngressRuleValue" => &["paths"],
        _ => &[],
    }
}
