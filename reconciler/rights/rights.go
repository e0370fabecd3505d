// Package rights computes, from rendered manifests, what a factory's service
// accounts have to be allowed: no more than applying it takes, and nothing that
// somebody had to write by hand.
//
//	r, err := rights.Compute(manifests, rights.Accounts{
//		Factory: "factory", Namespace: "millwright-system", Prefix: "millwright-", Controller: "millwright-controller",
//	})
//	for _, a := range r.Components { write(a.Objects()) }
//
// # Whose rights
//
// Each component has a service account of its own, which the controller
// impersonates for every request about one object of that component: to read it,
// to try a change, to make, change and delete it. All of that is bound to the
// object by name, creation too: a server-side apply names its object before it
// is there, and the API server asks for "create" under that name.
//
// The controller itself lists and watches the kinds that are declared, since one
// look serves all components and a list cannot tell whose object is whose. It
// may do so in the namespaces where there are such objects, and of Secrets only
// for those that are declared. Where there are workloads it may list pods and
// events, too, to say why one is not ready. It keeps the inventory records itself.
//
// # Roles and bindings
//
// Kubernetes lets nobody grant what they do not hold. So a component that
// declares roles holds, where it declares them, the union of their rules; a
// component that binds a role of another component holds that role's rules too.
// A role that is not among the manifests, such as view, cannot be looked into:
// there, and only there, the account gets the verb bind for that role by name.
// The verb escalate is never given, not even where a role of the factory grants
// it.
//
// # What it says beside the rules
//
// Findings are what a reviewer should look at: wildcards, which stay as they
// are; bind; what cannot be held without holding everything (aggregated roles);
// components whose objects an account may write because of what it grants; and
// objects that give rights to the factory's own accounts (row D21).
//
// It is pure: manifests in, values out. It knows the kinds of Kubernetes from a
// table and every other kind from its definition among the manifests.
package rights

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millwright.dev/millwright/render"
)

// ErrUnknownKind says that nothing tells where objects of a kind are served.
var ErrUnknownKind = errors.New("kind is neither one of Kubernetes' own nor defined among the manifests")

// ErrAccounts says that the names of the accounts do not keep them apart.
var ErrAccounts = errors.New("two accounts of the factory would have one name")

// Accounts name a Factory and its service accounts.
type Accounts struct {
	// Factory is its name: the inventory records are named after it.
	Factory string
	// Namespace holds all of them: it is the Factory's.
	Namespace string
	// Prefix and the name of a component are the name of its account.
	Prefix string
	// Controller is the account that the controller runs as.
	Controller string
}

// Of is the name of a component's account.
func (a Accounts) Of(component string) string { return a.Prefix + component }

// Rights are all that one factory needs in one environment.
type Rights struct {
	Accounts Accounts
	// Components in stage order.
	Components []Account
	// Controller is what the controller needs for this factory beside what it
	// always needs.
	Controller Account
	// Namespaces have to be there before the rights in them can be, beside that of
	// the accounts.
	Namespaces []string
}

// Account is one service account with its rules.
type Account struct {
	// Component is empty for the controller.
	Component string
	// Name and Namespace of the service account.
	Name, Namespace string
	// Cluster are the rules that hold everywhere, In those of one namespace.
	Cluster []rbacv1.PolicyRule
	In      map[string][]rbacv1.PolicyRule
	// Findings are what a reviewer should look at, sorted.
	Findings []Finding

	roles string
}

// Leaving are objects that a revision before the manifests declared: the engine
// deletes them, and may do no more with them.
type Leaving []render.Object

// Recreates says of which objects the engine may make another one in their
// place; nil means none. Before it deletes one, it has the new one judged under
// the name that [Rehearsal] gives.
type Recreates func(component string, id render.ID) bool

// Rehearsal is the name under which a new object is tried before the old one is
// deleted. Nothing is stored under it.
func Rehearsal(name string) string {
	return strings.TrimRight(name[:min(len(name), 40)], "-.") + "-rehearsal"
}

// Compute says what each component of the manifests needs.
func Compute(m render.Manifests, accounts Accounts, leaving Leaving, recreates Recreates) (Rights, error) {
	objects := m.Objects()
	known, err := kindsOf(slices.Concat(objects, leaving))
	if err != nil {
		return Rights{}, err
	}
	w := work{accounts: accounts, kinds: known, grants: grantsOf(objects), recreates: recreates, policies: policiesOf(objects), of: map[string]*holding{}, controller: newHolding()}
	for _, c := range m.Components() {
		if accounts.Of(c.Name) == accounts.Controller {
			return Rights{}, fmt.Errorf("%w: component %s and the controller are both %s", ErrAccounts, c.Name, accounts.Controller)
		}
		w.of[c.Name] = newHolding()
	}
	declared := map[render.ID]bool{}
	for _, o := range objects {
		declared[o.ID()] = true
		if err := w.declared(o); err != nil {
			return Rights{}, err
		}
	}
	for _, o := range leaving {
		if !declared[o.ID()] {
			if err := w.leaving(o); err != nil {
				return Rights{}, err
			}
		}
	}
	w.reach(objects)
	return w.result(m), nil
}

// work is one computation.
type work struct {
	accounts   Accounts
	kinds      kinds
	grants     grants
	recreates  Recreates
	policies   map[policyKey]*unstructured.Unstructured
	of         map[string]*holding
	controller *holding
}

// verbs of requests about one object: compare reads it and tries the change,
// apply makes or changes it, prune deletes it and looks whether it is gone.
const (
	verbGet, verbCreate, verbPatch, verbDelete = "get", "create", "patch", "delete"
	verbList, verbWatch                        = "list", "watch"
)

func (w *work) declared(o render.Object) error {
	id := o.ID()
	r, err := w.kinds.find(id)
	if err != nil {
		return err
	}
	h := w.of[o.Component()]
	for _, verb := range []string{verbGet, verbCreate, verbPatch, verbDelete} {
		h.add(id.Namespace, permission{verb: verb, group: id.Group, resource: r.plural, name: id.Name})
	}
	if w.recreates != nil && w.recreates(o.Component(), id) {
		for _, verb := range []string{verbCreate, verbPatch} {
			h.add(id.Namespace, permission{verb: verb, group: id.Group, resource: r.plural, name: Rehearsal(id.Name)})
		}
	}
	w.observe(id, r)
	if RunsPods(id) {
		for _, resource := range []string{"pods", "events"} {
			w.controller.add(id.Namespace, permission{verb: verbList, resource: resource})
		}
	}
	if id.Group == rbacv1.GroupName {
		w.grant(h, o)
	}
	w.parameters(h, o)
	w.webhooks(o)
	w.look(h, o)
	return nil
}

func (w *work) leaving(o render.Object) error {
	id := o.ID()
	r, err := w.kinds.find(id)
	if err != nil {
		return err
	}
	h := w.of[o.Component()]
	if h == nil { // the whole component leaves
		h = newHolding()
		w.of[o.Component()] = h
	}
	for _, verb := range []string{verbGet, verbDelete} {
		h.add(id.Namespace, permission{verb: verb, group: id.Group, resource: r.plural, name: id.Name})
	}
	w.observe(id, r)
	return nil
}

// observe lets the controller list and watch the kind where the object is.
func (w *work) observe(id render.ID, r resource) {
	namespace, name := Look(id)
	for _, verb := range []string{verbList, verbWatch} {
		w.controller.add(namespace, permission{verb: verb, group: id.Group, resource: r.plural, name: name})
	}
}

// Look says where the controller looks for an object: in its namespace among
// all of its kind, but for a Secret under its name alone. RBAC has no right to
// read metadata only, so who lists the Secrets of a namespace reads them all.
func Look(id render.ID) (namespace, name string) {
	if id.Group == "" && id.Kind == "Secret" {
		return id.Namespace, id.Name
	}
	return id.Namespace, ""
}

// RunsPods says whether objects of a kind have pods made. How many of them are
// ready the object says itself; why the others are not, the controller reads from
// them, and from events.
func RunsPods(id render.ID) bool {
	switch id.Group {
	case "apps":
		return id.Kind != "ControllerRevision"
	case "batch":
		return id.Kind == "Job"
	}
	return false
}

// RecordName is the name of the ConfigMap that holds the inventory record of a
// component. It joins with a dot, which the name of a component cannot hold: a
// factory a-b with component c is not a factory a with component b-c.
func RecordName(factory, component string) string {
	const prefix, longest = "millwright-inventory-", 253
	name := prefix + factory + "." + component
	if len(name) <= longest {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return prefix + hex.EncodeToString(sum[:16])
}

func (w *work) result(m render.Manifests) Rights {
	out := Rights{Accounts: w.accounts}
	order := make([]string, 0, len(w.of))
	for _, c := range m.Components() {
		order = append(order, c.Name)
	}
	for _, gone := range slices.Sorted(maps.Keys(w.of)) {
		if !slices.Contains(order, gone) {
			order = append(order, gone)
		}
	}
	namespaces := map[string]bool{}
	for _, name := range order {
		a := w.of[name].account(w.accounts.Namespace, w.accounts.Of(name))
		a.Component, a.roles = name, w.accounts.Namespace+":"+a.Name
		out.Components = append(out.Components, a)
		w.controller.add(w.accounts.Namespace,
			permission{verb: "impersonate", resource: "serviceaccounts", name: a.Name},
			permission{verb: "get", resource: "configmaps", name: RecordName(w.accounts.Factory, name)},
			permission{verb: "update", resource: "configmaps", name: RecordName(w.accounts.Factory, name)},
		)
		for ns := range a.In {
			namespaces[ns] = true
		}
	}
	out.Controller = w.controller.account(w.accounts.Namespace, w.accounts.Controller)
	out.Controller.roles = w.accounts.Namespace + ":" + strings.TrimSuffix(w.accounts.Prefix, "-") + ":observe"
	for ns := range out.Controller.In {
		namespaces[ns] = true
	}
	delete(namespaces, w.accounts.Namespace)
	out.Namespaces = slices.Sorted(maps.Keys(namespaces))
	return out
}

// Findings are those of all accounts.
func (r Rights) Findings() []Finding {
	var out []Finding
	for _, a := range r.Components {
		out = append(out, a.Findings...)
	}
	return out
}

func unknown(id render.ID) error {
	return fmt.Errorf("%w: %s", ErrUnknownKind, id)
}
