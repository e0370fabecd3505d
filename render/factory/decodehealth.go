package factory

import (
	"fmt"
	"strings"
	"time"

	"millwright.dev/millwright/render/health"
)

const (
	minWait   = time.Second
	maxWait   = time.Hour
	maxChecks = 64
)

type fileCheck struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Current    string `json:"current"`
	Failed     string `json:"failed"`
}

// decodeWait reads how long what depends on a component waits for its health;
// 0 if it does not wait.
func decodeWait(at, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < minWait || d > maxWait {
		return 0, refuse("factory/wait", at, fmt.Sprintf("%q", text), fmt.Sprintf("write a duration from %s to %s, for example 5m", minWait, maxWait))
	}
	return d, nil
}

func decodeChecks(at string, in []fileCheck) ([]health.Check, error) {
	if len(in) > maxChecks {
		return nil, refuse("factory/count", at, fmt.Sprintf("%d expressions", len(in)), fmt.Sprintf("list at most %d", maxChecks))
	}
	seen := map[string]bool{}
	var out []health.Check
	for i, c := range in {
		at := fmt.Sprintf("%s[%d]", at, i)
		group, version, found := strings.Cut(c.APIVersion, "/")
		switch {
		case !found, !groupName.MatchString(group), !label.MatchString(version):
			return nil, refuse("factory/check", at+".apiVersion", fmt.Sprintf("%q", c.APIVersion), "write group/version of a custom kind")
		case !strings.Contains(group, "."):
			return nil, refuse("factory/check", at+".apiVersion", c.APIVersion, "leave Kubernetes' own kinds out: their status is understood without expressions")
		case !kindName.MatchString(c.Kind):
			return nil, refuse("factory/check", at+".kind", fmt.Sprintf("%q", c.Kind), "name the kind")
		case seen[c.APIVersion+" "+c.Kind]:
			return nil, refuse("factory/twice", at, c.APIVersion+" "+c.Kind, "give each kind one entry")
		}
		seen[c.APIVersion+" "+c.Kind] = true
		check, err := health.Compile(c.APIVersion, c.Kind, c.Current, c.Failed)
		if err != nil {
			return nil, refuse("factory/check", at, err.Error(), "mend the expression; it sees the object as object and gives a boolean")
		}
		out = append(out, check)
	}
	return out, nil
}
