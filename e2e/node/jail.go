package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// jailed is the setting of the plugin: every class for every namespace; which one
// a pod is of, its annotation says.
func (f floor) jailed() (string, error) {
	classes := map[string][]string{}
	for _, namespace := range f.Jail.Namespaces {
		classes[namespace] = []string{"none", "registry", "git"}
	}
	b, err := json.Marshal(classes)
	return string(b), err
}

// jail loads the table in which the plugin finds the sets that it adds pods to.
// It is there before the first pod, and the plugin starts no pod without it.
func (f floor) jail() error {
	// Traffic between pods passes the bridge: without this, no rule would see it.
	for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		if err := os.WriteFile("/proc/sys/net/bridge/"+name, []byte("1"), 0o600); err != nil {
			return err
		}
	}
	args := []string{
		"table", "-pods", PodCIDR, "-node-ip", IP, "-dns", DNS + ":53", "-git-port", strconv.Itoa(f.Jail.GitPort),
	}
	for _, allow := range f.Jail.Allow {
		args = append(args, "-allow", allow)
	}
	table := exec.Command(f.Programs["factory-jail"], args...)
	var problem bytes.Buffer
	table.Stderr = &problem
	rules, err := table.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, problem.Bytes())
	}
	load := exec.Command("nft", "-f", "-")
	load.Stdin = bytes.NewReader(rules)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}
