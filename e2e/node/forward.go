package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// forward takes connections in one network and makes one in the other for each.
type forward struct {
	listener net.Listener
	dial     func() (net.Conn, error)

	mu    sync.Mutex
	open  map[net.Conn]bool
	ended bool
	all   sync.WaitGroup
}

const dialWithin = 5 * time.Second

// forwardIn leads from an address of the machine to one in the network of the
// process pid.
func forwardIn(pid int, from, to string) (*forward, error) {
	l, err := net.Listen("tcp", from)
	if err != nil {
		return nil, err
	}
	return newForward(l, func() (net.Conn, error) {
		var c net.Conn
		err := within(pid, func() (err error) {
			c, err = net.DialTimeout("tcp", to, dialWithin)
			return err
		})
		return c, err
	}), nil
}

// forwardOut leads from an address in the network of the process pid to one of
// the machine.
func forwardOut(pid int, from, to string) (*forward, error) {
	var l net.Listener
	err := within(pid, func() (err error) {
		l, err = net.Listen("tcp", from)
		return err
	})
	if err != nil {
		return nil, err
	}
	return newForward(l, func() (net.Conn, error) { return net.DialTimeout("tcp", to, dialWithin) }), nil
}

func newForward(l net.Listener, dial func() (net.Conn, error)) *forward {
	f := &forward{listener: l, dial: dial, open: map[net.Conn]bool{}}
	f.all.Go(f.serve)
	return f
}

func (f *forward) serve() {
	for {
		in, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		f.all.Go(func() { f.join(in) })
	}
}

// join copies both ways until both are at their end.
func (f *forward) join(in net.Conn) {
	defer in.Close()
	out, err := f.dial()
	if err != nil {
		return
	}
	defer out.Close()
	if !f.keep(in, out) {
		return
	}
	defer f.forget(in, out)
	var both sync.WaitGroup
	both.Go(func() { pour(out, in) })
	both.Go(func() { pour(in, out) })
	both.Wait()
}

// pour copies one way and says that it is at its end.
func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

func (f *forward) keep(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		f.open[c] = true
	}
	return !f.ended
}

func (f *forward) forget(conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		delete(f.open, c)
	}
}

func (f *forward) stop() {
	_ = f.listener.Close()
	f.mu.Lock()
	f.ended = true
	for c := range f.open {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.all.Wait()
}

// within does something in the network of a process. A socket belongs to the
// network of the thread that made it, for as long as it lives (namespaces(7)); so
// addresses must be numbers, which are dialled on the caller's own thread.
func within(pid int, do func() error) error {
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer theirs.Close()
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so that nothing else
		// ever runs in that network.
		runtime.LockOSThread()
		if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("entering the node's network: %w", err)
			return
		}
		result <- do()
	}()
	return <-result
}
