package imap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A session is one connection to a server, from the greeting on. One goroutine
// uses it. After an error that leaves the conversation out of step the
// connection is closed and every later call returns that error.
type session struct {
	conn *netx.Conn
	net  *driver.Network
	log  *slog.Logger
	err  error

	secure   bool
	preauth  bool
	leaving  bool // LOGOUT was sent, so BYE is right
	caps     map[string]bool
	capsTold int // how often the server told them
	enabled  map[string]bool
	tags     int
	inFlight map[string]bool   // commands that may be answered out of turn
	early    map[string]status // replies that came out of turn
	last     status            // of the latest command
	secrets  []string          // what must not come back in the text of an error

	maxLine              int
	maxListing           int
	box                  selected
	fetching             *fetch    // takes FETCH responses; nil: they are passed over
	uidLate              bool      // the server sends UIDs behind the contents
	ahead                []pending // commands for contents, oldest first
	aheadSection         string
	seenMails, seenBytes int64    // contents so far
	lib                  *library // made when first needed
	names                *namer   // likewise
}

// selected is what is known of the selected folder.
type selected struct {
	validity       uint32 // 0: unknown
	next           uint32 // UIDNEXT; 0: unknown
	exists         uint32
	expunged       int  // mails that the server said are gone
	news           bool // EXISTS was said since the flag was cleared
	readOnly       bool
	notSticky      bool
	permanent      []string
	knowsPermanent bool
}

// connect opens a connection and logs in.
func connect(ctx context.Context, addr string, o *options) (*session, error) {
	network, err := o.net.Resolved(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := netx.Dial(ctx, network, driverName, addr, o.common.Logger)
	if err != nil {
		return nil, err
	}
	conn.Show(traced)
	s := &session{
		conn: conn, net: network, log: o.common.Logger,
		secure:  o.net.Security == driver.SecurityImplicit,
		enabled: map[string]bool{}, inFlight: map[string]bool{}, early: map[string]status{},
		maxLine: maxLine, maxListing: o.imap.maxListing,
	}
	defer s.watch(ctx)()
	if err := s.begin(ctx, o); err != nil {
		return nil, s.fail(err)
	}
	return s, nil
}

// begin brings a connection to the state after login.
func (s *session) begin(ctx context.Context, o *options) error {
	if err := s.greet(); err != nil {
		return err
	}
	if o.net.Security == driver.SecurityExplicit {
		if err := s.startTLS(ctx); err != nil {
			return err
		}
	}
	if s.caps == nil {
		if err := s.capability(); err != nil {
			return err
		}
	}
	if !s.preauth {
		seen := s.conn.Private()
		err := s.login(ctx)
		seen()
		if err != nil {
			return err
		}
	}
	return s.introduce(o.imap.clientID)
}

// greet reads the greeting (RFC 3501 section 7.1).
func (s *session) greet() error {
	r, err := s.read(time.Now().Add(s.conn.Timeout()))
	if err != nil {
		return s.broken("greeting", err)
	}
	if r.tag != "*" || !r.isStatus() {
		return s.wrap("greeting", driver.KindProtocol, errors.New("not the greeting of an IMAP server"))
	}
	st := r.status()
	switch st.typ {
	case "OK":
	case "PREAUTH":
		// Whoever sits in the line can say this to have STARTTLS skipped (A04).
		if s.net.Security == driver.SecurityExplicit {
			return s.wrap("greeting", driver.KindPolicy, fmt.Errorf("%w: it says PREAUTH before TLS", driver.ErrTLSRequired))
		}
		s.preauth = true
	default:
		re := s.refusal("greeting", st)
		return s.wrap("greeting", re.kindOf(), re)
	}
	s.conn.EndSetup()
	s.note(st)
	return nil
}

// startTLS upgrades to TLS. It is required: nothing that matters was said
// before, and nothing is believed of what was heard (RFC 3501 section 6.2.1).
func (s *session) startTLS(ctx context.Context) error {
	if s.caps == nil {
		if err := s.capability(); err != nil {
			return err
		}
	}
	if !s.caps["STARTTLS"] {
		return s.wrap("starttls", driver.KindPolicy, driver.ErrTLSRequired)
	}
	if _, err := s.command("STARTTLS", nil); err != nil {
		if re, ok := isRefusal(err); ok {
			return s.wrap("starttls", driver.KindPolicy, fmt.Errorf("%w: %w", driver.ErrTLSRequired, re))
		}
		return err
	}
	if err := s.conn.StartTLS(ctx); err != nil {
		return err
	}
	s.secure, s.caps = true, nil
	s.enabled, s.box = map[string]bool{}, selected{} // who sits in the line could say these too (A05)
	return nil
}

// capability asks for the capabilities anew.
func (s *session) capability() error {
	s.caps = nil
	if _, err := s.command("CAPABILITY", nil); err != nil {
		return err
	}
	if s.caps == nil {
		return s.wrap("capability", driver.KindProtocol, errors.New("the server names no capabilities"))
	}
	return nil
}

func (s *session) setCaps(list string) {
	s.caps = map[string]bool{}
	s.capsTold++
	for _, name := range strings.Fields(list) {
		s.caps[strings.ToUpper(name)] = true
	}
}

// has reports whether the server can do something. What RFC 9051 made part of
// the protocol need not be named by a server of IMAP4rev2.
func (s *session) has(name string) bool {
	if s.caps[name] {
		return true
	}
	switch name {
	case "UIDPLUS", "ESEARCH", "MOVE", "IDLE", "ENABLE", "NAMESPACE", "SASL-IR", "UNSELECT", "SPECIAL-USE", "LITERAL-":
		return s.caps["IMAP4REV2"]
	}
	return false
}

// rev2 reports whether the conversation is in IMAP4rev2: it was enabled, or
// the server knows nothing else (RFC 9051 section 6.3.1).
func (s *session) rev2() bool {
	return s.enabled["IMAP4REV2"] || s.caps["IMAP4REV2"] && !s.caps["IMAP4REV1"]
}

// utf8Names reports whether folder names are UTF-8 instead of UTF-7.
func (s *session) utf8Names() bool { return s.rev2() || s.enabled["UTF8=ACCEPT"] }

// introduce says who we are, if the host wants that, and turns UTF-8 on where
// the server has it.
func (s *session) introduce(id []string) error {
	if len(id) == 2 && s.has("ID") {
		if _, err := s.command("ID", nil, raw(`("name" `+quote(id[0])+` "version" `+quote(id[1])+`)`)); err != nil {
			if _, ok := isRefusal(err); !ok {
				return err
			}
		}
	}
	if s.caps["ENABLE"] && (s.caps["UTF8=ACCEPT"] || s.caps["UTF8=ONLY"]) {
		if _, err := s.command("ENABLE", nil, raw("UTF8=ACCEPT")); err != nil {
			if _, ok := isRefusal(err); !ok {
				return err
			}
		}
	}
	return nil
}

// A part is an argument of a command.
type part struct {
	text   string
	string bool // send as a string, quoted or a literal
}

func raw(text string) part { return part{text: text} }
func str(text string) part { return part{text, true} }

// command sends a command and reads up to its tagged reply. on, which may be
// nil, sees the untagged responses.
func (s *session) command(name string, on func(*response) error, parts ...part) (status, error) {
	tag, err := s.send(name, parts...)
	if err != nil {
		return status{}, err
	}
	return s.await(name, tag, on)
}

// queue writes a command without sending it yet. It must have no literals.
func (s *session) queue(name string, parts ...part) (tag string, err error) {
	if s.err != nil {
		return "", s.err
	}
	if len(s.ahead) > 0 && name != "UID FETCH" {
		if err := s.settle(); err != nil {
			return "", err
		}
	}
	s.tags++
	tag = "A" + strconv.Itoa(s.tags)
	return tag, s.write(name, tag+" "+name, parts...)
}

func (s *session) send(name string, parts ...part) (tag string, err error) {
	if tag, err = s.queue(name, parts...); err != nil {
		return "", err
	}
	if err := s.conn.Flush(); err != nil {
		return "", s.broken(opOf(name), err)
	}
	return tag, nil
}

// write writes a command. Arguments are checked here, whoever made them: a
// line end would end the command and begin another (A16).
func (s *session) write(name, head string, parts ...part) error {
	op := opOf(name)
	line, put := head, s.conn.Command
	for _, p := range parts {
		if strings.ContainsAny(p.text, "\x00\r\n") {
			return s.wrap(op, driver.KindConfig, errors.New("an argument holds a line end or NUL"))
		}
		line += " "
		switch {
		case !p.string:
			line += p.text
		case quotable(p.text) && len(p.text) <= 1024:
			line += quote(p.text)
		default:
			if err := s.literal(op, line, int64(len(p.text))); err != nil {
				return err
			}
			line, put = p.text, s.conn.Write // a trace shows no literals: one may be a password
		}
	}
	if _, err := put([]byte(line + "\r\n")); err != nil {
		return s.broken(op, err)
	}
	return nil
}

// literal announces a literal behind line, and waits for the server's consent
// unless it does without (RFC 7888; A17).
func (s *session) literal(op, line string, n int64) error {
	plus := ""
	if s.caps["LITERAL+"] || n <= 4096 && s.has("LITERAL-") {
		plus = "+"
	}
	if _, err := fmt.Fprintf(s.conn, "%s{%d%s}\r\n", line, n, plus); err != nil {
		return s.broken(op, err)
	}
	if plus != "" {
		return nil
	}
	if err := s.conn.Flush(); err != nil {
		return s.broken(op, err)
	}
	return s.consent(op)
}

// consent waits for "+". A refusal ends the command before it was whole.
func (s *session) consent(op string) error {
	for range maxResponses {
		r, err := s.read(time.Now().Add(s.conn.Timeout()))
		if err != nil {
			return s.broken(op, err)
		}
		switch r.tag {
		case "+":
			return nil
		case "*":
			if err := s.untagged(r, nil); err != nil {
				return s.broken(op, err)
			}
		case "A" + strconv.Itoa(s.tags):
			if _, err := s.finish(strings.ToUpper(op), r.status()); err != nil {
				return err
			}
			return s.broken(op, s.garbage("success before the command was whole", []byte(r.typ)))
		default:
			return s.broken(op, s.garbage("a reply to nothing that was asked", []byte(r.tag)))
		}
	}
	return s.broken(op, s.wrap(op, driver.KindProtocol, fmt.Errorf("too many responses: %w", driver.ErrLimit)))
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
	if de, ok := errors.AsType[*driver.Error](err); ok {
		if de.Op == "read" || de.Op == "write" || de.Op == "wait" {
			named := *de
			named.Op = op
			return s.fail(&named)
		}
		return s.fail(err)
	}
	return s.fail(s.wrap(op, driver.KindTemporary, err))
}

// fail ends the session: what comes on this connection is not trusted any
// more. The first failure is the one that is reported ever after.
func (s *session) fail(err error) error {
	if s.err == nil {
		s.err = err
		_ = s.conn.Close()
		if s.lib != nil {
			s.lib.close()
		}
	}
	return err
}

var errEnded = errors.New("the session has ended")

// close ends the session without a word, and its goroutine.
func (s *session) close(op string) {
	_ = s.fail(s.wrap(op, driver.KindClosed, errEnded))
	if s.lib != nil {
		<-s.lib.ended()
	}
}

// logout says good-bye and ends the session.
func (s *session) logout() {
	if s.err == nil {
		s.leaving = true
		_, _ = s.command("LOGOUT", nil)
	}
	s.close("logout")
}

// watch makes the end of ctx the end of the session.
func (s *session) watch(ctx context.Context) (stop func()) { return s.conn.Watch(ctx) }

func joinPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
