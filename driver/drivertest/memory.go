package drivertest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/driver"
)

// A Memory is a mail server in memory: one mailbox, and a relay that keeps
// what it is given. Drivers made by [Memory.New] poll and send there, over a
// wire of their own that a dialer may cut. It remembers what it promised. Any
// number of goroutines may use it.
type Memory struct {
	mu      sync.Mutex
	closed  bool
	serial  int
	mails   []memoryMail
	sent    []MemorySent
	refused []string
	faults  []*Fault
	conns   map[net.Conn]struct{}
	wg      sync.WaitGroup
}

type memoryMail struct {
	id  string
	raw []byte
}

// A MemorySent is a message that the relay of a [Memory] took.
type MemorySent struct {
	From string
	To   []string
	Data []byte
}

// A Fault is something that goes wrong in a [Memory]. The zero values of its
// numbers mean: from the first time on, each time.
type Fault struct {
	At    Verb
	Skip  int // spare the first Skip times
	Times int // act so many times, then never again; 0: no end
	Do    FaultAction
}

// A Verb is a point at which a [Fault] can act.
type Verb string

// The verbs of the wire.
const (
	VerbDial   Verb = "DIAL"
	VerbList   Verb = "LIST"
	VerbFetch  Verb = "FETCH"
	VerbNoop   Verb = "NOOP"
	VerbRemove Verb = "REMOVE"
	VerbCommit Verb = "COMMIT"
	VerbFrom   Verb = "FROM"
	VerbTo     Verb = "TO"
	VerbData   Verb = "DATA" // once the whole message has arrived
)

// A FaultAction says what happens instead of the usual.
type FaultAction uint8

// The actions.
const (
	// FaultRefuse answers that it cannot be done now; nothing was done.
	FaultRefuse FaultAction = iota
	// FaultDrop ends the connection; nothing was done.
	FaultDrop
	// FaultDropReply does it and ends the connection without saying so.
	FaultDropReply
	// FaultHang says nothing until the client goes away; nothing was done.
	FaultHang
)

// maxMemoryMessage bounds a message that is sent, in bytes.
const maxMemoryMessage = 64 << 20

// NewMemory makes an empty server. It must be closed.
func NewMemory() *Memory { return &Memory{conns: map[net.Conn]struct{}{}} }

// Close ends all connections and waits for them. It is idempotent.
func (m *Memory) Close() {
	m.mu.Lock()
	m.closed = true
	for c := range m.conns {
		_ = c.Close()
	}
	m.mu.Unlock()
	m.wg.Wait()
}

// Add puts raw messages into the mailbox, behind those that are there.
func (m *Memory) Add(raw ...[]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range raw {
		m.serial++
		m.mails = append(m.mails, memoryMail{fmt.Sprintf("m%06d", m.serial), bytes.Clone(r)})
	}
}

// Left gives the messages in the mailbox, oldest first.
func (m *Memory) Left() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list [][]byte
	for _, x := range m.mails {
		list = append(list, bytes.Clone(x.raw))
	}
	return list
}

// Vanish takes the oldest n messages out of the mailbox at once, as another
// client does: sessions that have listed them find them gone.
func (m *Memory) Vanish(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails = m.mails[min(n, len(m.mails)):]
}

// Sent gives the messages that the relay took, in the order in which it did.
func (m *Memory) Sent() []MemorySent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sent)
}

// Refuse makes the relay refuse recipients for good.
func (m *Memory) Refuse(addresses ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused = append(m.refused, addresses...)
}

// Script adds faults. Of several that fit the first one acts.
func (m *Memory) Script(faults ...Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range faults {
		m.faults = append(m.faults, &f)
	}
}

// ClearScript removes all faults.
func (m *Memory) ClearScript() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = nil
}

// fault finds what goes wrong at a verb, and counts the visit.
func (m *Memory) fault(at Verb) (FaultAction, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.faults {
		if f.At != at {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times < 0 {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				f.Times = -1
			}
		}
		return f.Do, true
	}
	return 0, false
}

// Dial connects to the server; it is the network of a [Server] for [Run]. The
// address does not matter.
func (m *Memory) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if _, bad := m.fault(VerbDial); bad {
		return nil, errors.New("connection refused")
	}
	client, server := net.Pipe()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errors.New("the server is closed")
	}
	m.conns[server] = struct{}{}
	m.wg.Go(func() {
		s := &memorySession{m: m, conn: server, in: bufio.NewReader(server)}
		s.serve()
		_ = server.Close()
		m.mu.Lock()
		delete(m.conns, server)
		m.mu.Unlock()
	})
	return client, nil
}

// A memorySession is the server's side of a connection. The wire is lines: a
// verb and its argument; the answer begins with '+', or with '-' for what
// cannot be done now, or '!' for what never can.
type memorySession struct {
	m    *Memory
	conn net.Conn
	in   *bufio.Reader
	gone []string // to be removed at COMMIT
	msg  MemorySent
}

func (s *memorySession) serve() {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		var data []byte
		if Verb(verb) == VerbData {
			n, err := strconv.Atoi(arg)
			if err != nil || n < 0 || n > maxMemoryMessage {
				return
			}
			data = make([]byte, n)
			if _, err := io.ReadFull(s.in, data); err != nil {
				return
			}
		}
		do, bad := s.m.fault(Verb(verb))
		switch {
		case !bad:
			if _, err := s.conn.Write(s.answer(Verb(verb), arg, data)); err != nil {
				return
			}
		case do == FaultRefuse:
			if _, err := io.WriteString(s.conn, "-not now\n"); err != nil {
				return
			}
		case do == FaultHang:
			_, _ = io.Copy(io.Discard, s.in)
			return
		case do == FaultDropReply:
			s.answer(Verb(verb), arg, data)
			return
		default:
			return
		}
	}
}

func (s *memorySession) answer(verb Verb, arg string, data []byte) []byte {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	var b bytes.Buffer
	switch verb {
	case VerbList:
		fmt.Fprintf(&b, "+%d\n", len(s.m.mails))
		for _, x := range s.m.mails {
			fmt.Fprintf(&b, "%s %d\n", x.id, len(x.raw))
		}
	case VerbFetch:
		i := slices.IndexFunc(s.m.mails, func(x memoryMail) bool { return x.id == arg })
		if i < 0 {
			return []byte("!gone\n")
		}
		fmt.Fprintf(&b, "+%d\n", len(s.m.mails[i].raw))
		b.Write(s.m.mails[i].raw)
	case VerbRemove:
		s.gone = append(s.gone, arg)
		b.WriteString("+\n")
	case VerbCommit:
		s.m.mails = slices.DeleteFunc(s.m.mails, func(x memoryMail) bool { return slices.Contains(s.gone, x.id) })
		s.gone = nil
		b.WriteString("+\n")
	case VerbFrom:
		s.msg = MemorySent{From: arg}
		b.WriteString("+\n")
	case VerbTo:
		if slices.Contains(s.m.refused, arg) {
			return []byte("!no such recipient\n")
		}
		s.msg.To = append(s.msg.To, arg)
		b.WriteString("+\n")
	case VerbData:
		s.msg.Data = data
		s.m.sent = append(s.m.sent, s.msg)
		b.WriteString("+\n")
	case VerbNoop:
		b.WriteString("+\n")
	default:
		b.WriteString("!what\n")
	}
	return b.Bytes()
}

var _ driver.DialFunc = (*Memory)(nil).Dial
