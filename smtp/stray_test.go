//go:build unix

package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/testcert"
)

// A strayServer takes the first message of its first connection and refuses
// the second; when told to it says something there that nothing asked for.
// Its other connections take all.
type strayServer struct {
	offers []string
	tls    bool
	stray  string
	inData bool          // the stray reply comes within the first content, not after it
	say    chan struct{} // closed when the stray reply is to be sent

	mu   sync.Mutex
	ends []int // the connections of the contents that came to their end
}

func (s *strayServer) serve(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			if s.tls {
				nc = tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{testcert.Local()}, MinVersion: tls.VersionTLS12})
			}
			wg.Go(func() { s.talk(nc, n) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

func (s *strayServer) talk(nc net.Conn, n int) {
	defer nc.Close()
	r := bufio.NewReader(nc)
	mails := 0
	reply := func(text string) { _, _ = io.WriteString(nc, text+"\r\n") }
	speak := func() {
		select {
		case <-s.say:
		case <-time.After(10 * time.Second): // the test has failed
		}
		reply(s.stray)
	}
	end := func() {
		mails++
		s.mu.Lock()
		s.ends = append(s.ends, n)
		s.mu.Unlock()
		switch {
		case n > 1:
			reply("250 taken")
		case mails == 1:
			reply("250 taken")
			if !s.inData {
				speak()
			}
		default:
			reply("554 refused")
		}
	}
	reply("220 hello")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "EHLO":
			reply("250-" + strings.Join(append([]string{"stray.example"}, s.offers...), "\r\n250-") + "\r\n250 8BITMIME")
		case "BDAT":
			var size int64
			_, _ = fmt.Sscanf(line, "BDAT %d", &size)
			if _, err := io.CopyN(io.Discard, r, size); err != nil {
				return
			}
			if strings.Contains(line, "LAST") {
				end()
			} else {
				reply("250 chunk")
			}
		case "DATA":
			reply("354 go ahead")
			if n == 1 && s.inData {
				speak()
			}
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			end()
		case "QUIT":
			reply("221 bye")
			return
		default:
			reply("250 ok")
		}
	}
}

// sockets notes what is dialed.
type sockets struct{ list []*net.TCPConn }

func (s *sockets) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		s.list = append(s.list, nc.(*net.TCPConn))
	}
	return nc, err
}

// readable waits until something lies in the first socket, and takes nothing.
func (s *sockets) readable() error {
	nc := s.list[0]
	if err := nc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	rc, err := nc.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err == nil && n > 0
	})
}

func (s *strayServer) ended() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends
}

func (s *strayServer) start(t *testing.T) (*Driver, *sockets) {
	s.say = make(chan struct{})
	dialed := &sockets{}
	opts := []driver.Option{driver.WithTimeout(10 * time.Second), WithDataTimeout(10 * time.Second), driver.WithDialer(dialed.dial), driver.WithRootCAs(testcert.RootCAs())}
	if s.tls {
		opts = append(opts, driver.WithSecurity(driver.SecurityImplicit))
	}
	d, err := New(s.serve(t), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return d, dialed
}

// TestStrayReplyOnKeptConnection has a reply come that nothing asked for while
// the connection idles. Taken for the answer to the next command it would shift
// all that follow, and a refused message would count as accepted.
func TestStrayReplyOnKeptConnection(t *testing.T) {
	t.Parallel()
	for _, offers := range [][]string{{}, {"PIPELINING"}, {"CHUNKING"}, {"PIPELINING", "CHUNKING"}} {
		for _, stray := range []string{"250 scanned", "354 what", "421 idle for too long", "nonsense"} {
			for _, secure := range []bool{false, true} {
				for _, probed := range []bool{false, true} {
					t.Run(fmt.Sprint(offers, stray, " TLS ", secure, " probed ", probed), func(t *testing.T) {
						srv := &strayServer{offers: offers, tls: secure, stray: stray}
						d, dialed := srv.start(t)
						_, err := send(t, d, message(plainText))
						require.NoError(t, err)
						close(srv.say)
						require.NoError(t, dialed.readable())
						if probed { // as if it had been idle for longer
							p := d.primary.pool
							p.mu.Lock()
							p.kept[0].since = time.Now().Add(-2 * probeAfter)
							p.mu.Unlock()
						}
						rec, err := send(t, d, message(plainText))
						require.NoError(t, err)
						assert.Equal(t, 250, rec.Code)
						assert.Len(t, dialed.list, 2)
						assert.Equal(t, []int{1, 2}, srv.ended(), "each message went to the connection that answered for it")
					})
				}
			}
		}
	}
}

// TestStrayReplyWithinContent has one come while the content is sent: the end
// of the content must not follow, as the reply would be taken for its verdict.
func TestStrayReplyWithinContent(t *testing.T) {
	t.Parallel()
	for stray, kind := range map[string]driver.Kind{"250 scanned": driver.KindProtocol, "554 no more": driver.KindProtocol, "421 shutting down": driver.KindTemporary} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint(stray, " TLS ", secure), func(t *testing.T) {
				srv := &strayServer{stray: stray, inData: true, tls: secure}
				d, dialed := srv.start(t)
				m := message("")
				text := plainText + strings.Repeat("0123456789\r\n", keepBytes/10) // too long to be kept: it is read again
				readings := 0
				m.Open = func() (io.ReadCloser, error) {
					if readings++; readings == 2 {
						close(srv.say)
						if err := dialed.readable(); err != nil {
							return nil, err
						}
					}
					return io.NopCloser(strings.NewReader(text)), nil
				}
				rec, err := send(t, d, m)
				assert.Equal(t, 2, readings)
				assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
				assert.Equal(t, kind, driver.KindOf(err))
				require.ErrorContains(t, err, stray[4:])
				require.NoError(t, d.Close())
				assert.Empty(t, srv.ended(), "no end was sent")
			})
		}
	}
}
