// Package v1alpha1 holds the two kinds of the millwright.dev API group.
//
// A [Factory] says which repository is followed, who is trusted to change it
// and where its evidence goes. An [AppliedRevision] is the append-only record
// of one revision that was applied: its spec is set once and never changes.
//
// +kubebuilder:object:generate=true
// +groupName=millwright.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of this package.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "millwright.dev", Version: "v1alpha1"}
}

// AddToScheme registers the kinds of this package.
func AddToScheme(s *runtime.Scheme) error {
	gv := GroupVersion()
	s.AddKnownTypes(gv, &Factory{}, &FactoryList{}, &AppliedRevision{}, &AppliedRevisionList{})
	metav1.AddToGroupVersion(s, gv)
	return nil
}
