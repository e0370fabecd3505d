package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Reasons of the node.
const (
	reasonTable   = "jail/table"
	reasonBridged = "jail/bridged-traffic"
)

var errNoTable = errors.New("there is no table inet " + tableName)

// nft is the program nft(8), which speaks to the kernel.
type nft struct{ path string }

// member is an element of one of the sets.
type member struct {
	class string
	addr  string
	owner string
}

func (n nft) run(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, n.path, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %q", filepath.Base(n.path), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// listing is the part of nft's JSON that is read here.
type listing struct {
	Objects []struct {
		Table *struct{ Family, Name string } `json:"table"`
		Chain *struct{ Name, Hook, Policy string }
		Rule  *rule
		Set   *struct {
			Name string
			Elem []json.RawMessage
		}
	} `json:"nftables"`
}

type rule struct {
	Chain string
	Expr  []map[string]json.RawMessage
}

func (n nft) list(ctx context.Context, args ...string) (listing, error) {
	out, err := n.run(ctx, "", append([]string{"-j", "list"}, args...)...)
	if err != nil {
		return listing{}, err
	}
	var l listing
	if err := json.Unmarshal(out, &l); err != nil {
		return listing{}, fmt.Errorf("reading what nft lists: %w", err)
	}
	return l, nil
}

// table lists the table, and tells one that is not there from a failure.
func (n nft) table(ctx context.Context) (listing, error) {
	l, err := n.list(ctx, "table", "inet", tableName)
	if err == nil {
		return l, nil
	}
	all, listErr := n.list(ctx, "tables")
	if listErr != nil {
		return listing{}, errors.Join(err, listErr)
	}
	for _, o := range all.Objects {
		if o.Table != nil && o.Table.Family == "inet" && o.Table.Name == tableName {
			return listing{}, err
		}
	}
	return listing{}, errNoTable
}

// elements are the members of all sets.
func (n nft) elements(ctx context.Context) ([]member, error) {
	l, err := n.table(ctx)
	if err != nil {
		return nil, err
	}
	return membersOf(l)
}

// members are those of a jail that shuts in: with every rule in its place.
func (n nft) members(ctx context.Context) ([]member, error) {
	const hint = "make the table as the node's start does: factory-jail table … | nft -f -"
	l, err := n.table(ctx)
	if errors.Is(err, errNoTable) {
		return nil, refusal.New(reasonTable, hint, "%v", errNoTable)
	}
	if err != nil {
		return nil, err
	}
	if missing := incomplete(l); missing != "" {
		return nil, refusal.New(reasonTable, hint, "the table %s has no %s", tableName, missing)
	}
	return membersOf(l)
}

// incomplete names what is missing: a set without its rules would hold nobody.
func incomplete(l listing) string {
	present := map[string]bool{}
	for _, o := range l.Objects {
		switch {
		case o.Set != nil:
			present["set "+o.Set.Name] = true
		case o.Chain != nil && o.Chain.Hook != "":
			present["chain "+o.Chain.Name+" at "+o.Chain.Hook] = true
		case o.Rule != nil:
			for _, what := range o.Rule.says() {
				present[what+" in "+o.Rule.Chain] = true
			}
		}
	}
	wanted := []string{
		"chain " + chainFrom + " at prerouting", "chain " + chainTo + " at postrouting",
		"end of ipv6 in " + chainFrom, "end of ipv6 in " + chainTo,
	}
	for _, class := range classes {
		wanted = append(wanted, "set "+class, "way of "+class+" in "+chainFrom, "way of "+class+" in "+chainTo, "end in from_"+class, "end in to_"+class)
	}
	for _, w := range wanted {
		if !present[w] {
			return w
		}
	}
	return ""
}

// says names what a rule is for, of that which the jail needs.
func (r *rule) says() []string {
	var says []string
	drops := slices.ContainsFunc(r.Expr, func(statement map[string]json.RawMessage) bool { _, ok := statement["drop"]; return ok })
	if drops && len(r.Expr) == 1 {
		says = append(says, "end")
	}
	for _, statement := range r.Expr {
		match := string(statement["match"])
		if drops && strings.Contains(match, `"nfproto"`) && strings.Contains(match, `"ipv6"`) {
			says = append(says, "end of ipv6")
		}
		for _, class := range classes {
			if strings.Contains(match, `"@`+class+`"`) {
				says = append(says, "way of "+class)
			}
		}
	}
	return says
}

// membersOf reads elements: an address, or one with a comment.
func membersOf(l listing) ([]member, error) {
	var all []member
	for _, o := range l.Objects {
		if o.Set == nil {
			continue
		}
		for _, raw := range o.Set.Elem {
			var commented struct {
				Elem struct{ Val, Comment string }
			}
			m := member{class: o.Set.Name}
			if err := json.Unmarshal(raw, &m.addr); err != nil {
				if err := json.Unmarshal(raw, &commented); err != nil {
					return nil, fmt.Errorf("reading the set %s: %w", o.Set.Name, err)
				}
				m.addr, m.owner = commented.Elem.Val, commented.Elem.Comment
			}
			all = append(all, m)
		}
	}
	return all, nil
}

// put puts addresses into the set of a class and takes them out of all others,
// in one transaction. An element is added before it is deleted, because to
// delete one that is not there is an error.
func (n nft) put(ctx context.Context, class, owner string, addresses []netip.Addr) error {
	var b strings.Builder
	for _, addr := range addresses {
		for _, other := range classes {
			fmt.Fprintf(&b, "add element inet %[1]s %[2]s { %[3]s }\ndelete element inet %[1]s %[2]s { %[3]s }\n", tableName, other, addr)
		}
		fmt.Fprintf(&b, "add element inet %s %s { %s comment %q }\n", tableName, class, addr, owner)
	}
	if _, err := n.run(ctx, b.String(), "-f", "-"); err != nil {
		return fmt.Errorf("shutting the pod in: %w", err)
	}
	return nil
}

// drop removes the members whose owner is doomed; elements that nobody owns
// were put there by hand and stay.
func (n nft) drop(ctx context.Context, members []member, doomed func(owner string) bool) error {
	var b strings.Builder
	for _, m := range members {
		addr, err := netip.ParseAddr(m.addr)
		if err != nil || m.owner == "" || !slices.Contains(classes, m.class) || !doomed(m.owner) {
			continue
		}
		fmt.Fprintf(&b, "delete element inet %s %s { %s }\n", tableName, m.class, addr)
	}
	if b.Len() == 0 {
		return nil
	}
	if _, err := n.run(ctx, b.String(), "-f", "-"); err != nil {
		return fmt.Errorf("removing a pod: %w", err)
	}
	return nil
}

// checkMembers wants each address in its set, as the pod's own, and nowhere else.
func checkMembers(ctx context.Context, n nft, class, owner string, addresses []netip.Addr) error {
	members, err := n.members(ctx)
	if err != nil {
		return err
	}
	for _, addr := range addresses {
		var found []member
		for _, m := range members {
			if m.addr == addr.String() {
				found = append(found, m)
			}
		}
		if len(found) != 1 || found[0].class != class || found[0].owner != owner {
			return notMember(addr.String(), class)
		}
	}
	return nil
}

// checkBridge wants that packets between pods of one bridge are seen by the
// table: otherwise the jail has a door to the neighbours. The setting is of the
// network namespace, and is not there without the kernel's br_netfilter.
func checkBridge() error {
	for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		b, err := os.ReadFile(filepath.Join("/proc/sys/net/bridge", name))
		if err != nil || strings.TrimSpace(string(b)) != "1" {
			return refusal.New(reasonBridged, "load br_netfilter and set net.bridge."+name+"=1", "net.bridge.%s is %q", name, strings.TrimSpace(string(b)))
		}
	}
	return nil
}
