package rights

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millwright.dev/millwright/render"
)

type groupKind struct{ group, kind string }

// resource is where objects of a kind are served.
type resource struct {
	plural     string
	namespaced bool
}

// kinds knows where objects are served.
type kinds map[groupKind]resource

func (k kinds) find(id render.ID) (resource, error) {
	r, ok := k[groupKind{id.Group, id.Kind}]
	if !ok {
		return resource{}, unknown(id)
	}
	if r.namespaced != (id.Namespace != "") {
		return resource{}, fmt.Errorf("%s: its kind is namespaced: %t", id, r.namespaced)
	}
	return r, nil
}

// kindsOf are Kubernetes' own and those that the objects define.
func kindsOf(objects []render.Object) (kinds, error) {
	known := builtIn()
	for _, o := range objects {
		id := o.ID()
		if id.Group != "apiextensions.k8s.io" || id.Kind != "CustomResourceDefinition" {
			continue
		}
		u := o.Unstructured()
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
		plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
		scope, _, _ := unstructured.NestedString(u.Object, "spec", "scope")
		if group == "" || kind == "" || plural == "" || scope == "" {
			return nil, fmt.Errorf("%s: it lacks a group, kind, plural or scope", id)
		}
		at := groupKind{group, kind}
		if _, own := builtIn()[at]; own {
			return nil, fmt.Errorf("%s: it defines a kind of Kubernetes", id)
		}
		known[at] = resource{plural, scope == "Namespaced"}
	}
	return known, nil
}

const (
	groupAdmission = "admissionregistration.k8s.io"
	groupRBAC      = "rbac.authorization.k8s.io"
)

// builtIn are the kinds of Kubernetes 1.36 that can be applied. A test compares
// them with what an API server says.
func builtIn() kinds {
	out := kinds{}
	add := func(group string, namespaced bool, names map[string]string) {
		for kind, plural := range names {
			out[groupKind{group, kind}] = resource{plural, namespaced}
		}
	}
	const inNamespace, clusterWide = true, false
	add("", inNamespace, map[string]string{
		"ConfigMap": "configmaps", "Endpoints": "endpoints", "Event": "events", "LimitRange": "limitranges",
		"PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods", "PodTemplate": "podtemplates",
		"ReplicationController": "replicationcontrollers", "ResourceQuota": "resourcequotas", "Secret": "secrets",
		"Service": "services", "ServiceAccount": "serviceaccounts",
	})
	add("", clusterWide, map[string]string{"Namespace": "namespaces", "Node": "nodes", "PersistentVolume": "persistentvolumes"})
	add(groupAdmission, clusterWide, map[string]string{
		"MutatingAdmissionPolicy": "mutatingadmissionpolicies", "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
		"MutatingWebhookConfiguration": "mutatingwebhookconfigurations", "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
		"ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings", "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
	})
	add("apiextensions.k8s.io", clusterWide, map[string]string{"CustomResourceDefinition": "customresourcedefinitions"})
	add("apiregistration.k8s.io", clusterWide, map[string]string{"APIService": "apiservices"})
	add("apps", inNamespace, map[string]string{
		"ControllerRevision": "controllerrevisions", "DaemonSet": "daemonsets", "Deployment": "deployments",
		"ReplicaSet": "replicasets", "StatefulSet": "statefulsets",
	})
	add("autoscaling", inNamespace, map[string]string{"HorizontalPodAutoscaler": "horizontalpodautoscalers"})
	add("batch", inNamespace, map[string]string{"CronJob": "cronjobs", "Job": "jobs"})
	add("certificates.k8s.io", clusterWide, map[string]string{"CertificateSigningRequest": "certificatesigningrequests"})
	add("coordination.k8s.io", inNamespace, map[string]string{"Lease": "leases"})
	add("discovery.k8s.io", inNamespace, map[string]string{"EndpointSlice": "endpointslices"})
	add("events.k8s.io", inNamespace, map[string]string{"Event": "events"})
	add("flowcontrol.apiserver.k8s.io", clusterWide, map[string]string{
		"FlowSchema": "flowschemas", "PriorityLevelConfiguration": "prioritylevelconfigurations",
	})
	add("networking.k8s.io", inNamespace, map[string]string{"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"})
	add("networking.k8s.io", clusterWide, map[string]string{
		"IngressClass": "ingressclasses", "IPAddress": "ipaddresses", "ServiceCIDR": "servicecidrs",
	})
	add("node.k8s.io", clusterWide, map[string]string{"RuntimeClass": "runtimeclasses"})
	add("policy", inNamespace, map[string]string{"PodDisruptionBudget": "poddisruptionbudgets"})
	add(groupRBAC, clusterWide, map[string]string{"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"})
	add(groupRBAC, inNamespace, map[string]string{"Role": "roles", "RoleBinding": "rolebindings"})
	add("resource.k8s.io", clusterWide, map[string]string{"DeviceClass": "deviceclasses", "ResourceSlice": "resourceslices"})
	add("resource.k8s.io", inNamespace, map[string]string{"ResourceClaim": "resourceclaims", "ResourceClaimTemplate": "resourceclaimtemplates"})
	add("scheduling.k8s.io", clusterWide, map[string]string{"PriorityClass": "priorityclasses"})
	add("storage.k8s.io", clusterWide, map[string]string{
		"CSIDriver": "csidrivers", "CSINode": "csinodes", "StorageClass": "storageclasses",
		"VolumeAttachment": "volumeattachments", "VolumeAttributesClass": "volumeattributesclasses",
	})
	add("storage.k8s.io", inNamespace, map[string]string{"CSIStorageCapacity": "csistoragecapacities"})
	return out
}
