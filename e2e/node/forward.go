package node

import (
	"context"
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

// dialWithin is how long a server may take to accept a connection.
const dialWithin = 5 * time.Second

// forward takes connections in one network and makes one in the other for each.
type forward struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	ctx      context.Context
	cancel   context.CancelFunc

	mu   sync.Mutex
	open map[net.Conn]bool
	all  sync.WaitGroup
}

// in leads from an address of the machine to one of the network.
func (n *network) in(from, to string) (*forward, error) {
	l, err := net.Listen("tcp", from)
	if err != nil {
		return nil, err
	}
	return newForward(l, func(ctx context.Context) (c net.Conn, err error) {
		err = n.do(func() (err error) { c, err = dial(ctx, to); return err })
		return c, err
	}), nil
}

// out leads from an address of the network to one of the machine.
func (n *network) out(from, to string) (*forward, error) {
	var l net.Listener
	err := n.do(func() (err error) { l, err = net.Listen("tcp", from); return err })
	if err != nil {
		return nil, err
	}
	return newForward(l, func(ctx context.Context) (net.Conn, error) { return dial(ctx, to) }), nil
}

func dial(ctx context.Context, to string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialWithin}).DialContext(ctx, "tcp", to)
}

func newForward(l net.Listener, dial func(context.Context) (net.Conn, error)) *forward {
	f := &forward{listener: l, dial: dial, open: map[net.Conn]bool{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.all.Go(f.serve)
	return f
}

func (f *forward) serve() {
	for {
		in, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // for want of descriptors, say, which passes
			time.Sleep(10 * time.Millisecond)
			continue
		}
		f.all.Go(func() { f.join(in) })
	}
}

// join copies both ways until both are at their end, or one of them fails.
func (f *forward) join(in net.Conn) {
	defer f.close(in)
	if !f.keep(in) {
		return
	}
	out, err := f.dial(f.ctx)
	if err != nil {
		abort(in)
		return
	}
	defer f.close(out)
	if !f.keep(out) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pour(out, in) })
	both.Go(func() { pour(in, out) })
	both.Wait()
}

// pour copies one way and says that it is at its end. Where it fails, neither side
// may take what it got for the whole.
func pour(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		abort(to)
		abort(from)
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// abort closes a connection so that the other end sees that it was no ordinary
// end.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// keep notes a connection for stop, unless that has been called.
func (f *forward) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[c] = true
	return f.ctx.Err() == nil
}

func (f *forward) close(c net.Conn) {
	_ = c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
}

// stop ends all connections and returns when nothing of the forward runs.
func (f *forward) stop() {
	f.mu.Lock()
	f.cancel()
	for c := range f.open {
		_ = c.Close()
	}
	f.mu.Unlock()
	_ = f.listener.Close()
	f.all.Wait()
}

// network is the network namespace of a process. It is held open, and so stays
// the same one when the process has ended and its number is another's.
type network struct{ file *os.File }

func networkOf(pid int) (*network, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	return &network{f}, err
}

func (n *network) close() {
	if n != nil {
		_ = n.file.Close()
	}
}

// do does something in the network. A socket belongs to the network of the thread
// that made it, for as long as it lives (namespaces(7)); so addresses must be
// numbers, which are dialled on the caller's own thread.
func (n *network) do(do func() error) error {
	result := make(chan error, 1)
	go func() {
		// A thread that cannot go back is not given back: it ends with the goroutine.
		runtime.LockOSThread()
		back, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer back.Close()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("entering the node's network: %w", err)
			return
		}
		result <- do()
		if unix.Setns(int(back.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return <-result
}
