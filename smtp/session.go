package smtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// quitTimeout bounds the good-bye: by then the outcome is known, and a server
// slow to part must not delay it.
const quitTimeout = 5 * time.Second

// A session is one connection, greeted and logged in. It belongs to one
// goroutine at a time; the context that its owner watches ends it from outside.
type session struct {
	c    *netx.Conn
	net  *driver.Network
	set  *settings // of the send that owns it
	lmtp bool
	ext  extensions
	helo string

	secrets []string // what a server must not bring into an error by repeating it

	born  time.Time
	since time.Time // idle since
	mails int       // transactions begun
	dirty bool      // a transaction is open that RSET must end
	last  bool      // the server is leaving, or the connection must not be used again
}

// open makes a session: dial, greeting, EHLO, TLS, login. Its error is a
// *failure, and the connection is closed then.
func open(ctx context.Context, addr string, n *driver.Network, set *settings, common *driver.Common, lmtp bool) (*session, error) {
	n, err := n.Resolved(ctx)
	if err != nil {
		return nil, failed("dial", err)
	}
	if n.ConnectTimeout == 0 {
		n.ConnectTimeout = DefaultConnectTimeout
	}
	c, err := netx.Dial(ctx, n, driverName, addr, common.Logger)
	if err != nil {
		return nil, failed("dial", err)
	}
	s := &session{c: c, net: n, set: set, lmtp: lmtp, born: time.Now()}
	c.SetWriteTimeout(min(DefaultBlockTimeout, n.Timeout))
	c.LimitRead(maxSessionBytes)
	stop := c.Watch(ctx)
	err = s.start(ctx)
	stop()
	if err == nil {
		err = c.Err() // the context ended just now
	}
	if err != nil {
		s.quit()
		return nil, failed("dial", err)
	}
	return s, nil
}

func (s *session) start(ctx context.Context) error {
	greeting, err := s.receive(s.c.SetupDeadline())
	if err != nil {
		return failed(StageGreeting, err)
	}
	s.c.EndSetup()
	if greeting.code != 220 {
		return failed(StageGreeting, greeting.error(StageGreeting, s.c.Addr()))
	}
	s.helo = s.set.heloName
	if s.helo == "" {
		s.helo = defaultHeloName(s.c.LocalAddr())
	}
	if err := s.hello(); err != nil {
		return err
	}
	if s.net.Security == driver.SecurityExplicit {
		if err := s.startTLS(ctx); err != nil {
			return err
		}
	}
	defer s.c.Private()()
	return s.login(ctx)
}

// protected reports whether there is TLS, and whether it is known who is at its
// other end: by the chain of the certificate, or by its pinned key, without
// which there was no handshake.
func (s *session) protected() (encrypted, verified bool) {
	state, encrypted := s.c.TLS()
	return encrypted, encrypted && (len(state.VerifiedChains) > 0 || len(s.net.Pins) > 0)
}

// hello says EHLO, and HELO to a server that does not know it (RFC 5321
// section 3.2), or LHLO, which has no older form (RFC 2033). What needs an
// extension fails later, by name.
func (s *session) hello() error {
	verb := "EHLO "
	if s.lmtp {
		verb = "LHLO "
	}
	r, err := s.command(verb + s.helo)
	if err != nil {
		return failed(StageEHLO, err)
	}
	if r.ok() {
		s.ext = parseExtensions(r.lines)
		s.ext.tls, s.ext.verified = s.protected()
		return nil
	}
	refusal := r.error(StageEHLO, s.c.Addr())
	switch {
	case s.net.Security == driver.SecurityExplicit:
		// HELO has no STARTTLS: a refused EHLO must not be a way around it.
		return &failure{StageEHLO, driver.KindPolicy, driver.DeliveryDeferred, fmt.Errorf("%w: %w", driver.ErrTLSRequired, refusal)}
	case r.code/100 != 5 || s.lmtp: // 421: the server is leaving
		return failed(StageEHLO, refusal)
	}
	if r, err = s.command("HELO " + s.helo); err != nil {
		return failed(StageHELO, err)
	}
	if !r.ok() {
		return failed(StageHELO, r.error(StageHELO, s.c.Addr()))
	}
	s.ext = extensions{}
	return nil
}

// startTLS upgrades or fails: TLS that was asked for is never done without
// (A03). Nothing is sent after the command until the handshake is over (A02),
// and what the server offered before it is forgotten (RFC 3207 section 4.2).
func (s *session) startTLS(ctx context.Context) error {
	if !s.ext.has("STARTTLS") {
		return &failure{StageSTARTTLS, driver.KindPolicy, driver.DeliveryDeferred, driver.ErrTLSRequired}
	}
	r, err := s.command("STARTTLS")
	if err != nil {
		return failed(StageSTARTTLS, err)
	}
	if r.code != 220 {
		refusal := r.error(StageSTARTTLS, s.c.Addr())
		return &failure{StageSTARTTLS, driver.KindPolicy, driver.DeliveryDeferred, fmt.Errorf("%w: %w", driver.ErrTLSRequired, refusal)}
	}
	if err := s.c.StartTLS(ctx); err != nil {
		return failed("tls", err)
	}
	s.ext = extensions{}
	return s.hello()
}

// command sends one line and waits for its reply.
func (s *session) command(line string) (*reply, error) {
	if err := s.send(line); err != nil {
		return nil, err
	}
	return s.receive(time.Now().Add(s.commandTimeout()))
}

func (s *session) commandTimeout() time.Duration {
	if s.set.commandTimeout > 0 {
		return s.set.commandTimeout
	}
	return s.c.Timeout()
}

// send sends a command, which its builder has checked.
func (s *session) send(line string) error {
	if err := s.inTurn(); err != nil {
		return err
	}
	if err := s.queue(line); err != nil {
		return err
	}
	return s.c.Flush()
}

// queue puts a command into the buffer. That it is one line is checked here
// once more, where it costs nothing.
func (s *session) queue(line string) error {
	if strings.ContainsAny(line, "\r\n\x00") {
		return s.c.Fail("write", driver.KindConfig, errors.New("a command of more than one line"))
	}
	_, err := s.c.Command([]byte(line + "\r\n"))
	return err
}

// inTurn looks for a reply that nothing asked for, at the socket as well: one
// that lay there unseen would be taken for the answer to the next command. 421 may come at any time
// (RFC 5321 section 3.8) and is returned as what it is; any other means that
// we and the server no longer speak of the same command. It is no [ReplyError]
// then, as it says nothing of the message.
func (s *session) inTurn() error {
	if came, err := s.c.Arrived(); err != nil || !came {
		return err
	}
	r, err := s.receive(time.Now().Add(s.commandTimeout()))
	if err != nil {
		return err
	}
	if r.code == 421 {
		s.last = true
		return r.error(StageIdle, s.c.Addr())
	}
	return s.c.Fail("read", driver.KindProtocol, fmt.Errorf("%w: %s", errUnsolicited, r.error("nothing", s.c.Addr()).Error()))
}

func (s *session) receive(deadline time.Time) (*reply, error) {
	return readReply(s.c, deadline, s.secrets...)
}

// pipelining reports whether commands may go out in groups.
func (s *session) pipelining() bool { return s.ext.has("PIPELINING") && !s.set.oneByOne }

// chunking reports whether content goes with BDAT.
func (s *session) chunking() bool { return s.ext.has("CHUNKING") && !s.set.oneByOne }

// reset ends a transaction that was left open, or shows that the server is
// still there.
func (s *session) reset() error {
	r, err := s.command("RSET")
	switch {
	case err != nil:
		return err
	case !r.ok():
		s.last = true
		return r.error(StageIdle, s.c.Addr())
	}
	s.dirty = false
	return nil
}

// drop makes the session end without a good-bye.
func (s *session) drop() {
	s.last = true
	_ = s.c.Fail("close", driver.KindClosed, net.ErrClosed)
}

// quit ends the session in good order. Its outcome changes nothing any more
// (RFC 5321 section 4.1.1.10).
func (s *session) quit() {
	if s.c.Err() == nil && s.send("QUIT") == nil {
		_, _ = s.receive(time.Now().Add(min(quitTimeout, s.commandTimeout())))
	}
	_ = s.c.Close()
}

// defaultHeloName is the host's name if it is fully qualified, and else the
// address literal of the connection.
func defaultHeloName(local net.Addr) string {
	if name, err := os.Hostname(); err == nil && strings.Contains(name, ".") && checkDomain(name) == nil {
		return name
	}
	if t, ok := local.(*net.TCPAddr); ok {
		if four := t.IP.To4(); four != nil {
			return "[" + four.String() + "]"
		}
		if six := t.IP.To16(); six != nil {
			return "[IPv6:" + six.String() + "]"
		}
	}
	return "[127.0.0.1]"
}
