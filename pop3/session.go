package pop3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	engine "github.com/knadh/go-pop3"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A session is one connection to a server, from the greeting on. One goroutine
// uses it. After an error that leaves the conversation out of step the
// connection is closed and every later call returns that error.
type session struct {
	conn *netx.Conn
	gate *gate
	eng  *engine.Conn
	net  *driver.Network
	log  *slog.Logger

	window  int // commands in flight, if the server permits more than one
	waiting int // replies not read yet
	err     error

	secure  bool
	stamp   string       // APOP time stamp of the greeting, with < and >
	caps    capabilities // nil if the server has no CAPA
	secrets []string     // what must not come back in the text of an error
}

// connect opens a connection and brings it to the state before login: greeted,
// and in TLS if that was asked for.
func connect(ctx context.Context, addr string, o *options) (*session, error) {
	network, err := o.net.Resolved(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := netx.Dial(ctx, network, driverName, addr, o.common.Logger)
	if err != nil {
		return nil, err
	}
	s := &session{
		conn: conn, net: network, log: o.common.Logger,
		window: o.pop3.window, secure: o.net.Security == driver.SecurityImplicit,
	}
	defer s.watch(ctx)()
	if err := s.greet(); err != nil {
		return nil, s.fail(err)
	}
	if err := s.capa(); err != nil {
		return nil, s.fail(err)
	}
	if o.net.Security == driver.SecurityExplicit {
		if err := s.stls(ctx); err != nil {
			return nil, s.fail(err)
		}
	}
	return s, nil
}

// greet reads the greeting (RFC 1939 section 4) and starts the engine.
func (s *session) greet() error {
	s.gate = &gate{conn: s.conn}
	line, err := s.conn.ReadLine(maxStatus)
	if err != nil {
		return s.broken("greeting", err)
	}
	text, err := s.parse("greeting", string(line))
	if err != nil {
		return err
	}
	s.conn.EndSetup()
	s.stamp = timeStamp(text)
	if s.eng, err = engine.New(engine.Opt{Dialer: s.gate}).NewConn(); err != nil {
		return s.wrap("greeting", driver.KindProtocol, err)
	}
	return nil
}

// timeStamp finds the msg-id in a greeting that announces APOP (RFC 1939
// section 7), "" if there is none.
func timeStamp(greeting string) string {
	_, rest, found := strings.Cut(greeting, "<")
	id, _, closed := strings.Cut(rest, ">")
	if !found || !closed || strings.ContainsAny(id, " <") || !strings.Contains(id, "@") {
		return ""
	}
	return "<" + id + ">"
}

// stls upgrades to TLS. It is required: nothing that matters was said before,
// and nothing is believed of what was heard (RFC 2595 section 4).
func (s *session) stls(ctx context.Context) error {
	if s.caps != nil && !s.caps.has("STLS") {
		return s.wrap("stls", driver.KindPolicy, driver.ErrTLSRequired)
	}
	if _, err := s.command("STLS"); err != nil {
		if re, ok := isRefusal(err); ok {
			return s.wrap("stls", driver.KindPolicy, fmt.Errorf("%w: %w", driver.ErrTLSRequired, re))
		}
		return err
	}
	if err := s.conn.StartTLS(ctx); err != nil {
		return err
	}
	s.secure, s.caps = true, nil
	return s.capa()
}

// command sends a command and reads its status line.
func (s *session) command(verb string, args ...string) (string, error) {
	if err := s.send(verb, args...); err != nil {
		return "", err
	}
	return s.status(commandName(verb, args))
}

// commandName is what errors call a command: without arguments, unless they
// are numbers.
func commandName(verb string, args []string) string {
	for _, a := range args {
		if _, err := strconv.Atoi(a); err != nil {
			return verb
		}
		verb += " " + a
	}
	return verb
}

// send queues a command. The arguments are checked here, whoever made them: a
// control character would end the command and begin another (A16).
func (s *session) send(verb string, args ...string) error {
	if s.err != nil {
		return s.err
	}
	op := strings.ToLower(verb)
	for _, a := range args {
		if strings.ContainsFunc(a, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return s.wrap(op, driver.KindConfig, errors.New("an argument holds a control character"))
		}
	}
	if s.waiting == 0 && s.conn.Buffered() > 0 {
		return s.fail(s.wrap(op, driver.KindProtocol, errUnasked))
	}
	if err := s.eng.Send(strings.Join(append([]string{verb}, args...), " ")); err != nil {
		return s.broken(op, err)
	}
	s.waiting++
	return nil
}

// status reads the status line of the oldest command in flight. A refusal is a
// [*ReplyError] and the session goes on.
func (s *session) status(command string) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	// The engine's verdict is not asked: what it makes of a line has no type.
	_, err := s.eng.ReadOne()
	if s.gate.err != nil {
		return "", s.broken(opOf(command), s.gate.err)
	}
	s.waiting--
	text, parseErr := s.parse(command, s.gate.last)
	if parseErr == nil && err != nil {
		parseErr = s.wrap(opOf(command), driver.KindProtocol, errors.New(netx.Quote(err.Error())))
	}
	if _, refused := isRefusal(parseErr); parseErr != nil && !refused {
		return "", s.fail(parseErr)
	}
	return text, parseErr
}

// opOf names the step of a command in errors.
func opOf(command string) string {
	verb, _, _ := strings.Cut(command, " ")
	return strings.ToLower(verb)
}

// parse reads a status line: "+OK" or "-ERR", then nothing or a space and text
// (RFC 1939 section 3).
func (s *session) parse(command, line string) (string, error) {
	for _, word := range []string{"+OK", "-ERR"} {
		text, ok := strings.CutPrefix(line, word)
		if !ok || (text != "" && text[0] != ' ') {
			continue
		}
		text = strings.TrimPrefix(text, " ")
		if word == "+OK" {
			return text, nil
		}
		re := newReplyError(command, s.scrub(text))
		return "", s.wrap(opOf(command), re.kindOf(), re)
	}
	return "", s.wrap(opOf(command), driver.KindProtocol,
		fmt.Errorf("neither +OK nor -ERR: %s", netx.Quote(s.scrub(line))))
}

// scrub takes secrets out of a text that the server sent.
func (s *session) scrub(text string) string { return netx.Scrub(text, s.secrets) }

func (s *session) wrap(op string, k driver.Kind, err error) *driver.Error {
	return &driver.Error{Op: op, Driver: driverName, Addr: s.conn.Addr(), Kind: k, Err: err}
}

// broken is [session.fail] for an error of the connection, which gets the name
// of the step that it broke.
func (s *session) broken(op string, err error) error {
	if s.err != nil {
		return s.err
	}
	if errors.Is(err, errBlank) {
		return s.fail(s.wrap(op, driver.KindProtocol, err))
	}
	if de, ok := errors.AsType[*driver.Error](err); ok {
		named := *de
		named.Op = op
		return s.fail(&named)
	}
	return s.fail(s.wrap(op, driver.KindTemporary, err))
}

// fail ends the session: what comes on this connection is not trusted any
// more. The first failure is the one that is reported ever after.
func (s *session) fail(err error) error {
	if s.err == nil {
		s.err = err
		_ = s.conn.Close()
	}
	return err
}

// watch makes the end of ctx the end of the session.
func (s *session) watch(ctx context.Context) (stop func()) { return s.conn.Watch(ctx) }

// pipelined is how many commands may be in flight (RFC 2449 section 6.6).
func (s *session) pipelined() int {
	if s.caps.has("PIPELINING") {
		return s.window
	}
	return 1
}

func joinPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
