package gitverify

import (
	"runtime"
	"sync"

	"millwright.dev/millwright/gitverify/forgekey"
)

// maxEarly bounds the signatures that are proved before it is known whether their
// commits lead to the anchor: nobody else can make the verifier work for nothing
// for longer than a second.
const maxEarly = 2048

// early proves signatures while the line of first parents is still walked back,
// on the cores that this leaves idle: each commit has to be read before its parent
// is known, which keeps one core busy only. It decides nothing; see proveAhead.
type early struct {
	prove func(rawCommit) attempt

	queue   chan queued
	workers sync.WaitGroup
	mu      sync.Mutex
	done    map[ID]attempt
}

type queued struct {
	id     ID
	commit rawCommit
}

// offer takes a commit if somebody has time for it, and as long as there are few.
func (e *early) offer(id ID, c rawCommit) {
	if forgekey.Kind(c.armored) != "x509" {
		return
	}
	if e.queue == nil {
		e.start(runtime.GOMAXPROCS(0) - 1)
	}
	select {
	case e.queue <- queued{id, c}:
	default:
	}
}

func (e *early) start(workers int) {
	e.queue, e.done = make(chan queued, 8*workers), map[ID]attempt{}
	for range workers {
		e.workers.Go(func() {
			for q := range e.queue {
				if e.enough() {
					continue
				}
				a := e.prove(q.commit)
				e.mu.Lock()
				e.done[q.id] = a
				e.mu.Unlock()
			}
		})
	}
}

func (e *early) enough() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.done) >= maxEarly
}

// collect waits for what was begun, and gives it back.
func (e *early) collect() map[ID]attempt {
	if e.queue == nil {
		return nil
	}
	close(e.queue)
	e.workers.Wait()
	return e.done
}
