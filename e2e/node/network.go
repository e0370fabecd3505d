package node

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// makeNetwork gives the namespace its loopback and the node its address, on a bridge
// that nothing is plugged into.
func makeNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	device := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "node0"}}
	if err := netlink.LinkAdd(device); err != nil {
		return fmt.Errorf("making %s: %w", device.Name, err)
	}
	address, err := netlink.ParseAddr(IP + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(device, address); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(device); err != nil {
		return err
	}
	// Services are addresses of nobody, which kube-proxy changes on the way out: a
	// process of the node needs a way out for them to begin with.
	_, services, err := net.ParseCIDR(ServiceCIDR)
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: device.Index, Dst: services}); err != nil {
		return fmt.Errorf("adding the route of services: %w", err)
	}
	// The network's own setting, not the machine's.
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600)
}
