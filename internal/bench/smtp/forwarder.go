package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// A forwarder passes connections on and holds what goes through for a time, in
// each direction, without slowing the flow: a long line, not a thin one.
type forwarder struct {
	l     net.Listener
	to    string
	delay time.Duration

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

func newForwarder(to string, delay time.Duration) (*forwarder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &forwarder{l: l, to: to, delay: delay, conns: make(map[net.Conn]struct{})}
	f.wg.Go(f.accept)
	return f, nil
}

func (f *forwarder) addr() string { return f.l.Addr().String() }

func (f *forwarder) accept() {
	for {
		a, err := f.l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", f.to)
		if err != nil {
			_ = a.Close()
			continue
		}
		f.mu.Lock()
		f.conns[a], f.conns[b] = struct{}{}, struct{}{}
		f.mu.Unlock()
		f.wg.Go(func() { f.pass(a, b) })
		f.wg.Go(func() { f.pass(b, a) })
	}
}

// A parcel is what was read at once, with the time when it is due.
type parcel struct {
	data []byte
	due  time.Time
}

func (f *forwarder) pass(from, to net.Conn) {
	line := make(chan parcel, 4096)
	f.wg.Go(func() {
		for p := range line {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				break
			}
		}
		_ = to.Close()
		_ = from.Close()
		for range line { // let the reader go on to its end
		}
	})
	defer close(line)
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			line <- parcel{b[:n], time.Now().Add(f.delay)}
		}
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
	}
}

func (f *forwarder) close() {
	_ = f.l.Close()
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}
