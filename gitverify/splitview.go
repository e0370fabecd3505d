package gitverify

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// A log that shows different histories to different people has to contradict
// itself somewhere (row B27). The verifier asks no log for consistency proofs:
// it works offline. But every signature brings a checkpoint and a place in the
// log, both signed, and what the signatures of one repository bring must fit
// together.

// Bounds on the memory of each kind of fact: the oldest go first, and with
// them only the chance to notice that something contradicts them.
const (
	maxCheckpoints = 1 << 16
	maxTrees       = 1 << 10
)

// orderSlack is how far a log's clock may lie from the order of its entries:
// two entries are compared when at least one whole slack lies between theirs.
const orderSlack = 10 * time.Minute

// checkpoints remembers what the logs have signed. It may be used by many
// goroutines at once; the zero value is ready.
type checkpoints struct {
	mu     sync.Mutex
	roots  memory[sizeAt, [32]byte]
	leaves memory[placeIn, [32]byte]
	orders map[tree]*order
}

// tree is one tree of one log: key and origin, in which Rekor names the shard.
type tree struct{ key, origin string }

type sizeAt struct {
	tree
	size uint64
}

type placeIn struct {
	tree
	index uint64
}

// admit refuses a proof whose log has signed something else before: another
// root for a tree of this size, another leaf at this place, or a later entry
// at an earlier place, as in a log that was cut back. The sizes of checkpoints
// alone say nothing about time: an old entry may carry a newer proof.
func (c *checkpoints) admit(p proof) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := p.seen
	in := tree{seen.key, seen.origin}
	if root, known := c.roots.find(sizeAt{in, seen.size}); known && root != seen.root {
		return refuse(codeInconsistent, "%s signed two different trees of %d entries", in.origin, seen.size)
	}
	if leaf, known := c.leaves.find(placeIn{in, seen.index}); known && leaf != seen.leaf {
		return refuse(codeInconsistent, "%s signed two different entries at index %d", in.origin, seen.index)
	}
	if !seen.entered.IsZero() {
		o := c.orderOf(in)
		if !o.fits(seen.entered, seen.index) {
			return refuse(codeInconsistent, "%s put index %d at %s, where entries around it have another order in time",
				in.origin, seen.index, seen.entered.Format(time.RFC3339))
		}
		o.add(seen.entered, seen.index)
	}
	c.roots.add(sizeAt{in, seen.size}, seen.root)
	c.leaves.add(placeIn{in, seen.index}, seen.leaf)
	return nil
}

// orderOf keeps one order for each tree. Trees are named by the logs of the
// trusted root, which have a few; a log that names a thousand has none.
func (c *checkpoints) orderOf(in tree) *order {
	if o, known := c.orders[in]; known {
		return o
	}
	if c.orders == nil || len(c.orders) >= maxTrees {
		c.orders = map[tree]*order{}
	}
	c.orders[in] = new(order)
	return c.orders[in]
}

// memory is a bounded map that forgets what it learnt first.
type memory[K comparable, V any] struct {
	facts map[K]V
	order []K
	next  int
}

func (m *memory[K, V]) find(key K) (V, bool) {
	v, ok := m.facts[key]
	return v, ok
}

func (m *memory[K, V]) add(key K, value V) {
	if _, known := m.facts[key]; known {
		return
	}
	if m.facts == nil {
		m.facts = map[K]V{}
	}
	m.facts[key] = value
	if len(m.order) < maxCheckpoints {
		m.order = append(m.order, key)
		return
	}
	delete(m.facts, m.order[m.next])
	m.order[m.next] = key
	m.next = (m.next + 1) % maxCheckpoints
}

// order is the order in time of a tree's entries: for each slice of orderSlack
// the lowest and the highest index that fell into it.
type order struct{ slices []span }

type span struct {
	at       int64
	min, max uint64
}

func (o *order) find(at time.Time) (slice int64, i int, found bool) {
	slice = at.Unix() / int64(orderSlack/time.Second)
	i, found = slices.BinarySearchFunc(o.slices, slice, func(s span, at int64) int { return cmp.Compare(s.at, at) })
	return slice, i, found
}

// fits compares with the nearest slices that lie more than the slack away.
// Those next to them were compared with them when they came, so two on each
// side are enough.
func (o *order) fits(at time.Time, index uint64) bool {
	slice, i, _ := o.find(at)
	for j, left := i-1, 2; j >= 0 && left > 0; j-- {
		if s := o.slices[j]; s.at <= slice-2 {
			if s.max >= index {
				return false
			}
			left--
		}
	}
	for j, left := i, 2; j < len(o.slices) && left > 0; j++ {
		if s := o.slices[j]; s.at >= slice+2 {
			if s.min <= index {
				return false
			}
			left--
		}
	}
	return true
}

func (o *order) add(at time.Time, index uint64) {
	slice, i, found := o.find(at)
	if found {
		o.slices[i].min, o.slices[i].max = min(o.slices[i].min, index), max(o.slices[i].max, index)
		return
	}
	if o.slices = slices.Insert(o.slices, i, span{slice, index, index}); len(o.slices) > maxCheckpoints {
		o.slices = slices.Delete(o.slices, 0, 1)
	}
}
