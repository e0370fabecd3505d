package gitverify

import "sync"

// maxCachedTrees bounds the memory of the trees that one walk keeps, roughly.
const maxCachedTrees = 64 << 20

// treeCache keeps trees that were read, hashed and parsed: neighbours in a
// history share nearly all of theirs, and detecting SHA-1 collisions costs more
// than anything else about a tree. What is kept is right for ever, since the
// name of a tree fixes its bytes. It has two generations and forgets the older
// one when the younger is full.
type treeCache struct {
	mu         sync.Mutex
	young, old map[ID][]treeEntry
	size       int
	// limit is maxCachedTrees if zero.
	limit int
}

func (c *treeCache) get(id ID) ([]treeEntry, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if entries, ok := c.young[id]; ok {
		return entries, true
	}
	entries, ok := c.old[id]
	if ok {
		c.keep(id, entries)
	}
	return entries, ok
}

func (c *treeCache) put(id ID, entries []treeEntry) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(id, entries)
}

func (c *treeCache) keep(id ID, entries []treeEntry) {
	limit := c.limit
	if limit == 0 {
		limit = maxCachedTrees
	}
	if c.size > limit/2 || c.young == nil {
		c.young, c.old, c.size = map[ID][]treeEntry{}, c.young, 0
	}
	c.young[id] = entries
	c.size += treeMemory(entries)
}

// treeMemory is about what the entries of a tree take: three strings each, of
// which the name and the id are stored beside.
func treeMemory(entries []treeEntry) int {
	n := 100
	for _, e := range entries {
		n += 48 + 40 + len(e.mode) + len(e.name)
	}
	return n
}
