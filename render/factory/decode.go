package factory

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/internal/visible"
)

// Bounds: far above a real factory, far below what hurts.
const (
	maxBytes        = 256 << 10
	maxEnvironments = 32
	maxComponents   = 128
	maxReason       = 512
)

const (
	apiVersion = "millwright.dev/v1alpha1"
	kind       = "FactoryConfig"
)

// The file, field for field.
type file struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Environments []fileEnvironment `json:"environments"`
		Components   []fileComponent   `json:"components"`
	} `json:"spec"`
}

type fileEnvironment struct {
	Name    string `json:"name"`
	Overlay string `json:"overlay"`
	Health  struct {
		Mode   HealthMode `json:"mode"`
		Reason string     `json:"reason"`
	} `json:"health"`
}

type fileComponent struct {
	Name      string       `json:"name"`
	Path      string       `json:"path"`
	DependsOn []string     `json:"dependsOn"`
	Drift     DriftMode    `json:"drift"`
	Wait      string       `json:"wait"`
	Health    []fileCheck  `json:"health"`
	Objects   []fileObject `json:"objects"`
}

var (
	label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	// plain keeps hidden names and shell-like ones out of paths.
	plain = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// Decode reads a factory.yaml strictly. Its error is a *Refusal.
func Decode(data []byte) (Config, error) {
	if len(data) > maxBytes {
		return Config{}, refuse("factory/size", "", fmt.Sprintf("%d bytes", len(data)), fmt.Sprintf("keep it under %d", maxBytes))
	}
	if bytes.Contains(data, []byte("\n---")) {
		return Config{}, refuse("factory/documents", "", "more than one document", "keep one document")
	}
	if hidden := visible.Unprintable(data); hidden != nil {
		return Config{}, refuse("factory/syntax", "", hidden.Error(), "take the character out: it hides from reviewers what the file means")
	}
	var f file
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return Config{}, refuse("factory/syntax", "", strings.Join(strings.Fields(err.Error()), " "), "mend the YAML; fields are in factory-config/README.md")
	}
	if f.APIVersion != apiVersion || f.Kind != kind {
		return Config{}, refuse("factory/kind", "", fmt.Sprintf("%s %s", f.APIVersion, f.Kind), fmt.Sprintf("write apiVersion %s and kind %s", apiVersion, kind))
	}
	if !label.MatchString(f.Metadata.Name) {
		return Config{}, badName("metadata.name", f.Metadata.Name)
	}
	environments, err := decodeEnvironments(f.Spec.Environments)
	if err != nil {
		return Config{}, err
	}
	components, err := decodeComponents(f.Spec.Components)
	if err != nil {
		return Config{}, err
	}
	return Config{Name: f.Metadata.Name, Environments: environments, Components: components}, nil
}

func decodeEnvironments(in []fileEnvironment) ([]Environment, error) {
	const field = "spec.environments"
	if len(in) == 0 || len(in) > maxEnvironments {
		return nil, refuse("factory/count", field, fmt.Sprintf("%d environments", len(in)), fmt.Sprintf("list 1 to %d", maxEnvironments))
	}
	seen := map[string]bool{}
	out := make([]Environment, 0, len(in))
	for i, e := range in {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !label.MatchString(e.Name):
			return nil, badName(at+".name", e.Name)
		case !validPath(e.Overlay):
			return nil, badPath(at+".overlay", e.Overlay)
		case seen["name "+e.Name] || seen["overlay "+e.Overlay]:
			return nil, refuse("factory/twice", at, fmt.Sprintf("%s at %s", e.Name, e.Overlay), "give each environment its own name and overlay")
		}
		seen["name "+e.Name], seen["overlay "+e.Overlay] = true, true
		if err := checkHealth(at+".health", e); err != nil {
			return nil, err
		}
		out = append(out, Environment{Name: e.Name, Overlay: e.Overlay, Health: Health{Mode: e.Health.Mode, Reason: e.Health.Reason}})
	}
	return out, nil
}

func checkHealth(at string, e fileEnvironment) error {
	switch {
	case e.Health.Mode != HealthObserve && e.Health.Mode != HealthUnknown:
		return refuse("factory/health", at+".mode", fmt.Sprintf("%q", e.Health.Mode), "write Observe or Unknown")
	case (e.Health.Mode == HealthUnknown) != (e.Health.Reason != ""):
		return refuse("factory/health", at+".reason", fmt.Sprintf("%q with mode %s", e.Health.Reason, e.Health.Mode), "give a reason with mode Unknown, and only there")
	case len(e.Health.Reason) > maxReason || strings.ContainsFunc(e.Health.Reason, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return refuse("factory/health", at+".reason", "too long, or not one line", fmt.Sprintf("keep it on one line of at most %d bytes", maxReason))
	}
	return nil
}

func decodeComponents(in []fileComponent) ([]Component, error) {
	const field = "spec.components"
	if len(in) == 0 || len(in) > maxComponents {
		return nil, refuse("factory/count", field, fmt.Sprintf("%d components", len(in)), fmt.Sprintf("list 1 to %d", maxComponents))
	}
	stages, paths := map[string]int{}, map[string]bool{}
	out := make([]Component, 0, len(in))
	for i, c := range in {
		at := fmt.Sprintf("%s[%d]", field, i)
		_, named := stages[c.Name]
		switch {
		case !label.MatchString(c.Name):
			return nil, badName(at+".name", c.Name)
		case !validPath(c.Path):
			return nil, badPath(at+".path", c.Path)
		case named || paths[c.Path]:
			return nil, refuse("factory/twice", at, fmt.Sprintf("%s at %s", c.Name, c.Path), "give each component its own name and path")
		case c.Drift != DriftCorrect && c.Drift != DriftAlert && c.Drift != DriftOff:
			return nil, refuse("factory/drift", at+".drift", fmt.Sprintf("%q", c.Drift), "write correct, alert or \"off\" (in quotes: bare, YAML takes it for false)")
		}
		stage, err := stageOf(at+".dependsOn", c, stages)
		if err != nil {
			return nil, err
		}
		decoded, err := decodeComponent(at, c)
		if err != nil {
			return nil, err
		}
		stages[c.Name], paths[c.Path], decoded.Stage = stage, true, stage
		out = append(out, decoded)
	}
	slices.SortStableFunc(out, func(a, b Component) int { return a.Stage - b.Stage })
	return out, nil
}

// decodeComponent takes what a component says about itself alone.
func decodeComponent(at string, c fileComponent) (Component, error) {
	wait, err := decodeWait(at+".wait", c.Wait)
	if err != nil {
		return Component{}, err
	}
	checks, err := decodeChecks(at+".health", c.Health)
	if err != nil {
		return Component{}, err
	}
	objects, err := decodeObjects(at+".objects", c.Objects)
	if err != nil {
		return Component{}, err
	}
	return Component{
		Name: c.Name, Path: c.Path, DependsOn: slices.Clone(c.DependsOn), Drift: c.Drift,
		Wait: wait, Health: checks, Objects: objects,
	}, nil
}

// stageOf looks among the components before this one only.
func stageOf(at string, c fileComponent, before map[string]int) (int, error) {
	stage := 0
	seen := map[string]bool{}
	for _, d := range c.DependsOn {
		s, ok := before[d]
		if !ok {
			return 0, refuse("factory/depends-on", at, fmt.Sprintf("%q is not a component before %q", d, c.Name), "list a component after all that it depends on")
		}
		if seen[d] {
			return 0, refuse("factory/twice", at, fmt.Sprintf("%q", d), "name each dependency once")
		}
		seen[d] = true
		stage = max(stage, s+1)
	}
	return stage, nil
}

func validPath(p string) bool {
	if !fs.ValidPath(p) || p == "." || len(p) > 240 {
		return false
	}
	for elem := range strings.SplitSeq(p, "/") {
		if !plain.MatchString(elem) {
			return false
		}
	}
	return true
}

func badName(field, got string) error {
	return refuse("factory/name", field, fmt.Sprintf("%q", got), "use a DNS label: lower-case letters, digits and '-', at most 63")
}

func badPath(field, got string) error {
	return refuse("factory/path", field, fmt.Sprintf("%q", got), "use a clean relative path of plain names, with slashes")
}

func refuse(code, field, detail, hint string) error {
	return &Refusal{Reason: Reason, Code: code, Field: field, Detail: detail, Hint: hint}
}
