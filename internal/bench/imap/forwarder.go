package main

import (
	"net"
	"sync"
	"time"
)

// A forwarder is a long line: it holds what goes through for a time in each
// direction and does not slow the flow.
type forwarder struct {
	l     net.Listener
	to    string
	delay time.Duration
	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

func newForwarder(to string, delay time.Duration) (*forwarder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &forwarder{l: l, to: to, delay: delay}
	f.wg.Go(f.accept)
	return f, nil
}

func (f *forwarder) addr() string { return f.l.Addr().String() }

func (f *forwarder) close() {
	_ = f.l.Close()
	f.mu.Lock()
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

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
		f.conns = append(f.conns, a, b)
		f.mu.Unlock()
		f.wg.Go(func() { f.pass(a, b) })
		f.wg.Go(func() { f.pass(b, a) })
	}
}

// A parcel is what was read at once, and when it is due.
type parcel struct {
	data []byte
	due  time.Time
}

func (f *forwarder) pass(from, to net.Conn) {
	line := make(chan parcel, 1024)
	f.wg.Go(func() {
		ok := true
		for p := range line { // to its end, so that the reader never waits
			if !ok {
				continue
			}
			if wait := time.Until(p.due); wait > 0 {
				time.Sleep(wait)
			}
			_, err := to.Write(p.data)
			ok = err == nil
		}
		_ = to.Close()
		_ = from.Close()
	})
	defer close(line)
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			line <- parcel{b[:n], time.Now().Add(f.delay)}
		}
		if err != nil {
			return
		}
	}
}
