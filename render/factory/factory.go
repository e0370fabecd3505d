// Package factory decodes factory-config/factory.yaml: what a factory is made of,
// in which order, and where it runs.
//
// A Config lists environments, each with its overlay directory and what can be
// said about health there, and the components that every environment has. A
// component's manifests are built from <overlay>/<path> alone, so that each has
// its own field manager, drift mode and stage. A component may depend only on
// components listed before it: the order of the file is an order of application,
// and a cycle cannot be written down. Its stage is one more than the highest
// stage it depends on.
//
// Decode is pure and refuses what it does not know: unknown and duplicate fields,
// more than one document, names that are not DNS labels, paths that are not plain
// and relative, names or paths used twice, anything over the bounds. There are no
// defaults: a drift mode left out is a mistake, not a choice.
//
// # Health gates
//
// A component that says wait is a gate: what depends on it, directly or through
// others, is applied only when all of it is applied and healthy.
//
//	wait: 5m                     # after which the gate is reported as failed
//	health:                      # for custom kinds; see package health
//	- apiVersion: spire.example.org/v1
//	  kind: Server
//	  current: object.status.phase == "Ready"
//	  failed: object.status.phase == "Broken"   # may be left out
//
// Kubernetes' own kinds are understood without expressions. Where the health of
// an environment is Unknown, gates ask only for what the API server itself knows.
//
// # Rules about single objects
//
// A component may list objects that are treated otherwise than it is:
//
//	objects:
//	- group: apps              # left out: the core group
//	  kind: Deployment
//	  namespace: build         # namespace and name: left out to mean any
//	  name: web
//	  drift: alert             # correct, alert or "off", instead of the component's
//	  ignore: [.spec.replicas] # fields whose difference is no drift
//	  exact: true              # a field that is not declared is drift too
//	  force: true              # take declared fields from another field manager
//	  recreate: true           # delete and make anew what cannot be changed in place
//
// Strings are exact; there are no patterns. Of several entries that match an
// object the most specific one counts, and it alone: a name weighs more than a
// namespace, either more than a kind. Fields are spelled as plans and the status
// spell them, so that one can be copied from there; a field stands for all below
// it. An entry that sets nothing, two with the same selector, a field spelled
// otherwise or one that can never differ are refused, and so is recreate for
// kinds whose deletion takes along what no manifest brings back.
package factory

import (
	"fmt"
	"path"
	"slices"
	"time"

	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/health"
)

// Path is where a factory repository keeps its configuration.
const Path = "factory-config/factory.yaml"

// Config is the decoded factory.yaml.
type Config struct {
	Name         string
	Environments []Environment
	// Components are in stage order; within a stage in the order of the file.
	Components []Component
}

// Environment is a place where the factory runs.
type Environment struct {
	Name string
	// Overlay is a directory of the tree, slash separated.
	Overlay string
	Health  Health
}

// Health says whether the health of live objects can be judged here.
type Health struct {
	Mode HealthMode
	// Reason is given exactly when the mode is HealthUnknown.
	Reason string
}

// HealthMode is how health is judged.
type HealthMode string

// The health modes.
const (
	// HealthObserve: wait for the objects and judge by their status.
	HealthObserve HealthMode = "Observe"
	// HealthUnknown: nothing runs here that would report health; say so.
	HealthUnknown HealthMode = "Unknown"
)

// Component is one part of the factory.
type Component struct {
	Name string
	// Path is relative to the overlay of an environment.
	Path      string
	DependsOn []string
	Drift     DriftMode
	// Wait is how long what depends on the component waits for its health; 0 if
	// it does not wait.
	Wait time.Duration
	// Health judges objects of custom kinds.
	Health []health.Check
	// Objects are the rules about single objects; ask with Rule.
	Objects []ObjectRule
	// Stage is derived from DependsOn, from 0.
	Stage int
}

// DriftMode is what happens to a live object that differs from the declared one.
type DriftMode string

// The drift modes.
const (
	// DriftCorrect: put it back and put it on record.
	DriftCorrect DriftMode = "correct"
	// DriftAlert: report it and leave it.
	DriftAlert DriftMode = "alert"
	// DriftOff: do not look.
	DriftOff DriftMode = "off"
)

// Environment returns the environment of a name.
func (c Config) Environment(name string) (Environment, error) {
	for _, e := range c.Environments {
		if e.Name == name {
			return e, nil
		}
	}
	return Environment{}, &Refusal{
		Reason: Reason, Code: "factory/environment", Field: "spec.environments",
		Detail: fmt.Sprintf("there is no environment %q", name),
		Hint:   "name one of the environments of " + Path,
	}
}

// Component returns the component of a name.
func (c Config) Component(name string) (Component, bool) {
	i := slices.IndexFunc(c.Components, func(k Component) bool { return k.Name == name })
	if i < 0 {
		return Component{}, false
	}
	return c.Components[i], true
}

// Components are what render builds for an environment, in stage order, with
// paths from the root of the tree.
func (e Environment) Components(c Config) []render.Component {
	out := make([]render.Component, 0, len(c.Components))
	for _, k := range c.Components {
		out = append(out, render.Component{Name: k.Name, Path: path.Join(e.Overlay, k.Path), Stage: k.Stage})
	}
	return out
}

// Reason is the condition reason of every Refusal of this package.
const Reason = "FactoryConfigInvalid"

// Refusal is a definite no: final until the file changes.
type Refusal struct {
	Reason, Code string
	// Field is the place in the file, for example "spec.components[2].path".
	Field string
	// Detail says what was found; Hint what would mend it.
	Detail, Hint string
}

// Error is one line.
func (r *Refusal) Error() string {
	s := r.Reason + " (" + r.Code + "): " + Path
	if r.Field != "" {
		s += ": " + r.Field
	}
	return s + ": " + r.Detail + ": " + r.Hint
}
