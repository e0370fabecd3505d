package localfactory

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
)

// GoEnvironment is what the go command needs to find modules as it does on this
// machine: `millwright vendor` gets upstream manifests with it. Nothing else is
// run with these settings, the only ones that lead off the machine.
func (s *Site) GoEnvironment(ctx context.Context) ([]string, error) {
	names := []string{"GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB", "GONOPROXY", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOTOOLCHAIN"}
	out, err := exec.CommandContext(ctx, "go", append([]string{"env", "-json"}, names...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("asking go for its settings: %w", err)
	}
	settings := map[string]string{}
	if err := json.Unmarshal(out, &settings); err != nil {
		return nil, fmt.Errorf("asking go for its settings: %w", err)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v, set := os.LookupEnv(name); set {
			settings[name] = v
		}
	}
	env := []string{"PATH=" + s.Path("bin") + ":" + programsOf("go") + ":" + programsOf("git") + ":/usr/bin:/bin"}
	for name, value := range settings {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, nil
}
