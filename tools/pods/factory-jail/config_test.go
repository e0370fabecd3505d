package main

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// network is the plugin's configuration, as the runtime gives it.
func network(t *testing.T, change func(map[string]any)) []byte {
	t.Helper()
	conf := map[string]any{
		"cniVersion": "1.0.0", "name": "factory", "type": "factory-jail",
		"capabilities": map[string]bool{"io.kubernetes.cri.pod-annotations": true},
		"jailed":       map[string][]string{"build-sample": {"none", "registry", "git"}, "strict": {}},
	}
	if change != nil {
		change(conf)
	}
	b, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// gave adds the result of the plugin before, and the pod's annotation.
func gave(address, egress string) func(map[string]any) {
	return func(conf map[string]any) {
		conf["prevResult"] = map[string]any{"cniVersion": "1.0.0", "ips": []any{map[string]any{"address": address}}}
		conf["runtimeConfig"] = map[string]any{"io.kubernetes.cri.pod-annotations": map[string]string{annotation: egress}}
	}
}

func TestTheNamespaceDecidesWhetherAndTheAnnotationHowMuch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args, egress string
		class        string
		jailed       bool
		want         string
	}{
		"none":                 {"K8S_POD_NAMESPACE=build-sample", "none", classNone, true, ""},
		"registry":             {"IgnoreUnknown=1;K8S_POD_NAMESPACE=build-sample;K8S_POD_NAME=p", "registry", classRegistry, true, ""},
		"git":                  {"K8S_POD_NAMESPACE=build-sample", "git", classGit, true, ""},
		"no annotation":        {"K8S_POD_NAMESPACE=build-sample", "", classNone, true, ""},
		"unknown class":        {"K8S_POD_NAMESPACE=build-sample", "all", classNone, true, ""},
		"other spelling":       {"K8S_POD_NAMESPACE=build-sample", "Registry", classNone, true, ""},
		"two classes":          {"K8S_POD_NAMESPACE=build-sample", "registry,git", classNone, true, ""},
		"class not there":      {"K8S_POD_NAMESPACE=strict", "registry", classNone, true, ""},
		"not jailed":           {"K8S_POD_NAMESPACE=tekton-chains", "none", "", false, ""},
		"name of a jailed one": {"K8S_POD_NAMESPACE=tekton-chains;K8S_POD_NAME=build-sample", "none", "", false, ""},
		"no namespace":         {"K8S_POD_NAME=p", "none", "", false, reasonNamespace},
		"nothing":              {"", "none", "", false, reasonNamespace},
		"two namespaces":       {"K8S_POD_NAMESPACE=tekton-chains;K8S_POD_NAMESPACE=build-sample", "none", "", false, reasonNamespace},
		"empty namespace":      {"K8S_POD_NAMESPACE=", "none", "", false, reasonNamespace},
		"strange namespace":    {"K8S_POD_NAMESPACE=../x", "none", "", false, reasonNamespace},
	} {
		c2, err := loadConfig(network(t, gave("198.18.16.5/20", c.egress)))
		if err != nil {
			t.Fatal(err)
		}
		class, jailed, err := c2.classOf(c.args)
		if class != c.class || jailed != c.jailed || refusal.ReasonOf(err) != c.want {
			t.Errorf("%s: %q %v %v", name, class, jailed, err)
		}
	}
}

func TestAConfigurationThatMeansNothingIsRefused(t *testing.T) {
	t.Parallel()
	set := func(key string, value any) func(map[string]any) {
		return func(conf map[string]any) { conf[key] = value }
	}
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"plain":              {nil, ""},
		"nobody is jailed":   {set("jailed", map[string]any{}), ""},
		"mistyped key":       {func(conf map[string]any) { conf["jail"] = conf["jailed"]; delete(conf, "jailed") }, reasonConfig},
		"unknown class":      {set("jailed", map[string]any{"a": []string{"some"}}), reasonConfig},
		"class is no list":   {set("jailed", map[string]any{"a": "none"}), reasonConfig},
		"namespace":          {set("jailed", map[string]any{"A b": []string{}}), reasonConfig},
		"relative nft":       {set("nft", "nft"), reasonConfig},
		"strange result":     {set("prevResult", map[string]any{"cniVersion": "9.9.9"}), reasonResult},
		"address is no such": {gave("somewhere", ""), reasonResult},
	} {
		if _, err := loadConfig(network(t, c.change)); refusal.ReasonOf(err) != c.want || (err != nil) != (c.want != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := loadConfig([]byte("{")); refusal.ReasonOf(err) != reasonConfig {
		t.Errorf("no JSON: %v", err)
	}
	for address, want := range map[string]string{"198.18.16.5/20": "", "fd00::5/64": reasonResult} {
		c, err := loadConfig(network(t, gave(address, "")))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.addresses(); refusal.ReasonOf(err) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

var tableFlags = map[string]string{"-pods": "198.18.16.0/20", "-node-ip": "198.18.0.1", "-dns": "198.19.0.10:53", "-git-port": "8080", "-allow": "registry=198.19.0.20:80"}

func tableArgs(flag, value string) []string {
	flags := maps.Clone(tableFlags)
	if flag != "" {
		flags[flag] = value
	}
	var args []string
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		args = append(args, name, flags[name])
	}
	return args
}

func TestATableOfNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ flag, value, want string }{
		"plain":                {"", "", ""},
		"bridge with a rule":   {"-bridge", `x" accept; drop "`, reasonBridge},
		"long bridge":          {"-bridge", strings.Repeat("a", 16), reasonBridge},
		"no network":           {"-pods", "", reasonAddress},
		"network with bits":    {"-pods", "198.18.16.1/20", reasonAddress},
		"IPv6 network":         {"-pods", "fd00::/64", reasonAddress},
		"node by name":         {"-node-ip", "factory", reasonAddress},
		"node with a rule":     {"-node-ip", "198.18.0.1 accept", reasonAddress},
		"DNS without port":     {"-dns", "198.19.0.10", reasonAddress},
		"DNS by IPv6":          {"-dns", "[fd00::1]:53", reasonAddress},
		"port":                 {"-git-port", "70000", reasonAddress},
		"class none":           {"-allow", "none=198.19.0.20:80", reasonAddress},
		"unknown class":        {"-allow", "all=198.19.0.20:80", reasonAddress},
		"allowed without port": {"-allow", "registry=198.19.0.20", reasonAddress},
	} {
		if _, err := parseTable(tableArgs(c.flag, c.value), io.Discard); refusal.ReasonOf(err) != c.want || (err != nil) != (c.want != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
