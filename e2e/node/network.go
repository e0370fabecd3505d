package node

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
)

// network gives the namespace its loopback and the node its address, on a bridge
// that nothing is plugged into.
func network() error {
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
	// The network's own setting, not the machine's.
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600)
}
