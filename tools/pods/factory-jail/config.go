package main

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// annotation is how a pod asks for a class.
const annotation = "millwright.dev/egress"

// Reasons of the plugin.
const (
	reasonConfig    = "jail/config"
	reasonNamespace = "jail/namespace"
	reasonResult    = "jail/result"
)

// config is the plugin's part of the network's configuration.
type config struct {
	types.NetConf

	// Jailed names the namespaces, and the classes that there are in each.
	Jailed map[string][]string `json:"jailed"`
	// NFT is the program; /usr/sbin/nft by default.
	NFT string `json:"nft"`
	// RuntimeConfig is what the runtime adds for the capabilities.
	RuntimeConfig struct {
		Annotations map[string]string `json:"io.kubernetes.cri.pod-annotations"`
	} `json:"runtimeConfig"`

	result *current.Result
}

var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func loadConfig(stdin []byte) (*config, error) {
	c := &config{NFT: "/usr/sbin/nft"}
	if err := json.Unmarshal(stdin, c); err != nil {
		return nil, refusal.New(reasonConfig, "repair the network's configuration", "%v", err)
	}
	// Without the key, a mistyped one would leave every namespace open.
	if c.Jailed == nil {
		return nil, refusal.New(reasonConfig, `name the namespaces in "jailed", if none then {}`, `"jailed" is missing`)
	}
	for namespace, allowed := range c.Jailed {
		unknown := slices.ContainsFunc(allowed, func(class string) bool { return !slices.Contains(classes, class) })
		if !namespaceName.MatchString(namespace) || unknown {
			return nil, refusal.New(reasonConfig, "use the classes none, registry and git", "namespace %q with classes %q", namespace, allowed)
		}
	}
	if !filepath.IsAbs(c.NFT) || filepath.Clean(c.NFT) != c.NFT {
		return nil, refusal.New(reasonConfig, "give an absolute path", "nft %q", c.NFT)
	}
	if c.RawPrevResult == nil {
		return c, nil
	}
	if err := version.ParsePrevResult(&c.NetConf); err != nil {
		return nil, refusal.New(reasonResult, "put this plugin behind one that gives addresses", "%v", err)
	}
	result, err := current.NewResultFromResult(c.PrevResult)
	if err != nil {
		return nil, refusal.New(reasonResult, "put this plugin behind one that gives addresses", "%v", err)
	}
	c.result = result
	return c, nil
}

// classOf decides: the namespace whether, the annotation how much.
func (c *config) classOf(cniArgs string) (class string, jailed bool, err error) {
	namespace, err := namespaceOf(cniArgs)
	if err != nil {
		return "", false, err
	}
	allowed, jailed := c.Jailed[namespace]
	if !jailed {
		return "", false, nil
	}
	if asked := c.RuntimeConfig.Annotations[annotation]; slices.Contains(allowed, asked) {
		return asked, true, nil
	}
	return classNone, true, nil
}

// namespaceOf reads the namespace of the pod from the runtime's arguments. A
// pod without one is not started: it may be one that should be jailed.
func namespaceOf(cniArgs string) (string, error) {
	var found []string
	for kv := range strings.SplitSeq(cniArgs, ";") {
		if v, ok := strings.CutPrefix(kv, "K8S_POD_NAMESPACE="); ok {
			found = append(found, v)
		}
	}
	if len(found) != 1 || !namespaceName.MatchString(found[0]) {
		return "", refusal.New(reasonNamespace, "let Kubernetes start the pod", "CNI_ARGS say the namespaces %q", found)
	}
	return found[0], nil
}

// addresses are the pod's, all of which have to be jailed.
func (c *config) addresses() ([]netip.Addr, error) {
	if c.result == nil || len(c.result.IPs) == 0 {
		return nil, refusal.New(reasonResult, "put this plugin behind one that gives addresses", "the pod has no address")
	}
	var all []netip.Addr
	for _, ip := range c.result.IPs {
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		if addr = addr.Unmap(); !ok || !addr.Is4() {
			return nil, refusal.New(reasonResult, "give pods IPv4 addresses only: the jail knows no other", "address %q", ip.Address.IP)
		}
		all = append(all, addr)
	}
	return all, nil
}

var containerID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// owner is the comment of a pod's elements.
func owner(id, device string) (string, error) {
	name := id + "/" + device
	if !containerID.MatchString(id) || !deviceName.MatchString(device) || len(name) > 120 {
		return "", refusal.New(reasonConfig, "none: the runtime makes these names", "container %q, device %q", id, device)
	}
	return name, nil
}

func ownerOf(args *skel.CmdArgs) (string, error) { return owner(args.ContainerID, args.IfName) }
