package apply

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"millwright.dev/millwright/reconciler/plan"
)

// errStale is an answer that is older than what was written before it was asked
// for: of an API server whose cache is behind, or whose etcd is (G15, G16). It
// shows objects that are gone and misses those that were made since.
var errStale = errors.New("the API server's answer is older than the last write that is on record")

// Waits for an API server to catch up. After them the kind counts as unknown in
// this pass, so that nothing is done to its objects.
const (
	staleWaits     = 4
	firstStaleWait = 50 * time.Millisecond
)

// awaitFresh asks again for lists that are older than the inventory, which was
// read before them. What claims to be newer than the record that it stands in
// was put there by somebody else, and must not make everything look old.
func (e *Engine) awaitFresh(ctx context.Context, lists map[kindKey]listing, inv plan.Inventory) error {
	newest := map[kindKey]string{}
	for id, entry := range inv.Entries {
		key := e.keyOf(entry.APIVersion, id)
		if older(inv.Records[entry.Component], entry.ResourceVersion) {
			continue
		}
		if newest[key] == "" || older(newest[key], entry.ResourceVersion) {
			newest[key] = entry.ResourceVersion
		}
	}
	for key, list := range lists {
		for i := 0; list.err == nil && older(list.version, newest[key]); i++ {
			if i == staleWaits {
				list.err = errStale
				break
			}
			if !pause(ctx, firstStaleWait<<i) {
				return ctx.Err()
			}
			list = e.list(ctx, key)
		}
		lists[key] = list
	}
	return nil
}

// older says whether a resource version is known to be before another one.
// Versions that are no comparable numbers tell nothing.
func older(version, than string) bool {
	if version == "" || than == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}
