package main

import (
	"context"
	"errors"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Codes of the CNI specification: from 100 on they are the plugin's own, 50
// says that no pod can be added now.
const (
	codeFailed      = 100
	codeUnavailable = 50
)

// timeout bounds a whole call.
const timeout = 20 * time.Second

// asCNI makes the one kind of error of which the runtime shows the text.
func asCNI(code uint, err error) error {
	if err == nil {
		return nil
	}
	return types.NewError(code, err.Error(), "")
}

// add jails the pod, if its namespace is, and passes on what it was given.
func add(args *skel.CmdArgs) error {
	c, err := loadConfig(args.StdinData)
	if err == nil {
		err = addPod(c, args)
	}
	if err != nil {
		return asCNI(codeFailed, err)
	}
	return types.PrintResult(c.result, c.CNIVersion)
}

func addPod(c *config, args *skel.CmdArgs) error {
	class, jailed, err := c.classOf(args.Args)
	if err != nil {
		return err
	}
	addresses, err := c.addresses()
	if err != nil || !jailed {
		return err
	}
	name, err := ownerOf(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := checkBridge(); err != nil {
		return err
	}
	n := nft{path: c.NFT}
	if _, err := n.members(ctx); err != nil {
		return err
	}
	if err := n.put(ctx, class, name, addresses); err != nil {
		return err
	}
	// Not because nft might lie, but because this is the last look before the
	// pod starts.
	return checkMembers(ctx, n, class, name, addresses)
}

// check says whether the pod still is as it was added.
func check(args *skel.CmdArgs) error {
	c, err := loadConfig(args.StdinData)
	if err == nil {
		err = checkPod(c, args)
	}
	return asCNI(codeFailed, err)
}

func checkPod(c *config, args *skel.CmdArgs) error {
	class, jailed, err := c.classOf(args.Args)
	if err != nil || !jailed {
		return err
	}
	addresses, err := c.addresses()
	if err != nil {
		return err
	}
	name, err := ownerOf(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := checkBridge(); err != nil {
		return err
	}
	return checkMembers(ctx, nft{path: c.NFT}, class, name, addresses)
}

// del removes what the container has in any set, whatever its namespace is
// called: the configuration may have changed since. It is asked repeatedly, and
// also when there was nothing.
//
// Should it fail, the runtime asks again and the address is not given to
// another pod until then, because plugins are undone in reverse order.
func del(args *skel.CmdArgs) error {
	name, err := ownerOf(args)
	if err == nil {
		err = remove(args.StdinData, func(owner string) bool { return owner == name })
	}
	return asCNI(codeFailed, err)
}

// collect removes what belongs to containers that the runtime does not know.
func collect(args *skel.CmdArgs) error {
	c, err := loadConfig(args.StdinData)
	if err != nil {
		return asCNI(codeFailed, err)
	}
	valid := map[string]bool{}
	for _, a := range c.ValidAttachments {
		name, err := owner(a.ContainerID, a.IfName)
		if err != nil {
			return asCNI(codeFailed, err)
		}
		valid[name] = true
	}
	return asCNI(codeFailed, remove(args.StdinData, func(owner string) bool { return !valid[owner] }))
}

func remove(stdin []byte, doomed func(owner string) bool) error {
	c, err := loadConfig(stdin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	n := nft{path: c.NFT}
	members, err := n.elements(ctx)
	if errors.Is(err, errNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	return n.drop(ctx, members, doomed)
}

// status says whether pods can be added: not without the table.
func status(args *skel.CmdArgs) error {
	c, err := loadConfig(args.StdinData)
	if err != nil {
		return asCNI(codeUnavailable, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err = nft{path: c.NFT}.members(ctx)
	return asCNI(codeUnavailable, errors.Join(err, checkBridge()))
}

// reasonMember is for a pod that is not where it has to be.
const reasonMember = "jail/member"

func notMember(addr, class string) error {
	return refusal.New(reasonMember, "delete the pod: it is not shut in", "%s is not in the set %q, or in another one as well", addr, class)
}
