package faultproxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxFrame bounds one event of a watch.
const maxFrame = 64 << 20

// Gone answers a watch as an API server does whose history was compacted.
func Gone() Fault {
	return Answer(http.StatusGone, metav1.StatusReasonExpired, "too old resource version", 0)
}

// EndWatch ends a watch after some events, as an API server does in order.
func EndWatch(events int) Fault {
	return watchFault("end watch", func(_ *Exchange, next func() []byte, send func([]byte)) {
		for range events {
			send(next())
		}
	})
}

// BreakWatch resets a watch after some events.
func BreakWatch(events int) Fault {
	return watchFault("break watch", func(_ *Exchange, next func() []byte, send func([]byte)) {
		for range events {
			send(next())
		}
		abort()
	})
}

// StallWatch passes some events and then nothing more, while the connection
// stays: no event, no bookmark, no end. Every event that is swallowed is told.
func StallWatch(events int, swallowed func()) Fault {
	return watchFault("stall watch", func(x *Exchange, next func() []byte, send func([]byte)) {
		for range events {
			send(next())
		}
		swallow(next, swallowed)
		<-x.r.Context().Done()
		abort()
	})
}

// swallow reads to the end, of which the client does not hear either.
func swallow(next func() []byte, swallowed func()) {
	defer func() { _ = recover() }() // next ends so
	for {
		next()
		swallowed()
	}
}

// HoldEvents keeps all events back until the channel is closed.
func HoldEvents(until <-chan struct{}, held func()) Fault {
	return watchFault("hold events", func(x *Exchange, next func() []byte, send func([]byte)) {
		for {
			event := next()
			held()
			select {
			case <-until:
			case <-x.r.Context().Done():
				abort()
			}
			send(event)
		}
	})
}

// DoubleEvents gives every event twice.
func DoubleEvents(doubled func()) Fault {
	return watchFault("double events", func(_ *Exchange, next func() []byte, send func([]byte)) {
		for {
			event := next()
			send(event)
			send(event)
			doubled()
		}
	})
}

// SwapEvents gives of two events that come within a while the second one first.
func SwapEvents(within time.Duration, swapped func()) Fault {
	return watchFault("swap events", func(x *Exchange, next func() []byte, send func([]byte)) {
		events := make(chan []byte)
		go func() {
			defer close(events)
			defer func() { _ = recover() }() // the stream ended: so does this
			for {
				select {
				case events <- next():
				case <-x.r.Context().Done():
					return
				}
			}
		}()
		for first := range events {
			timer := time.NewTimer(within)
			select {
			case second, ok := <-events:
				if ok {
					send(second)
					swapped()
				}
			case <-timer.C:
			}
			timer.Stop()
			send(first)
		}
	})
}

// watchFault opens the watch at the API server and hands its events over one by
// one. What is no watch passes as it is.
func watchFault(name string, do func(x *Exchange, next func() []byte, send func([]byte))) Fault {
	return Fault{name, func(x *Exchange) {
		x.r.Header.Del("Accept-Encoding")
		answer := x.Ask()
		defer answer.Body.Close()
		x.begin(answer)
		body := bufio.NewReader(answer.Body)
		read := frameOf(answer.Header.Get("Content-Type"))
		next := func() []byte {
			frame, err := read(body)
			if err != nil {
				abort()
			}
			return frame
		}
		do(x, next, x.send)
	}}
}

// frameOf reads one event of a stream as it is: a line of JSON, or protobuf
// behind its length.
func frameOf(contentType string) func(*bufio.Reader) ([]byte, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err == nil && strings.Contains(media, "protobuf") {
		return func(r *bufio.Reader) ([]byte, error) {
			head := make([]byte, 4)
			if _, err := io.ReadFull(r, head); err != nil {
				return nil, err
			}
			size := binary.BigEndian.Uint32(head)
			if size > maxFrame {
				return nil, errors.New("an event is larger than the limit")
			}
			frame := make([]byte, 4+int(size))
			copy(frame, head)
			_, err := io.ReadFull(r, frame[4:])
			return frame, err
		}
	}
	return func(r *bufio.Reader) ([]byte, error) { return r.ReadBytes('\n') }
}
