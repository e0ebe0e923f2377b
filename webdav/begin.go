package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/internal/netx"
)

func quote(s string) string { return netx.Quote(s) }

// begin finds out how to log in and where the mailbox is, once.
func (s *session) begin(ctx context.Context) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	if ready {
		s.give()
		return nil
	}
	err := s.beginWith(ctx)
	s.give()
	if err != nil || s.set.plain {
		return err
	}
	// From here others may log in again on our behalf.
	if err := s.findRoot(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
	return nil
}

func (s *session) beginWith(ctx context.Context) error {
	if s.set.plain {
		root, err := hrefPath(s.path + "/")
		if err != nil {
			root = "/"
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.root, s.ready = root, true
		if strings.HasSuffix(s.path, "/") {
			s.root = davPath(encodeRest(s.path))
		}
		return nil
	}
	s.mu.Lock()
	began := s.forms && s.logins > 0
	s.mu.Unlock()
	if began {
		return nil
	}
	want, err := s.probe(ctx)
	if err != nil {
		return err
	}
	named := len(s.net.Mechanisms) > 0
	form := named && s.net.Mechanisms[0] == mechForm
	switch {
	case want.forms && named && !form:
		return s.wrap("auth", driver.KindAuth, &ReplyError{Command: "GET", Code: want.code, Err: ErrForms})
	case !want.forms && form:
		return s.wrap("auth", driver.KindAuth, &ReplyError{Command: "GET", Code: want.code, Text: want.schemes, Err: ErrNoForms})
	case want.forms:
		if s.net.User == "" || s.net.Password.IsZero() {
			return s.wrap("auth", driver.KindConfig, fmt.Errorf("%w, and driver.WithLogin is missing", ErrForms))
		}
		s.mu.Lock()
		s.forms = true
		if s.client != s.anon {
			_ = s.client.Close()
			s.client = s.anon
		}
		s.mu.Unlock()
		return s.login(ctx)
	}
	return nil
}

// wish is what the server wants before it lets anybody in.
type wish struct {
	forms   bool
	code    int
	schemes string
}

// probe asks for the mailbox without credentials and follows nothing.
func (s *session) probe(ctx context.Context) (wish, error) {
	resp, err := s.anonymous(ctx, &call{method: http.MethodGet, path: s.start(), page: true, anyway: true})
	if err != nil {
		return wish{}, err
	}
	w := wish{code: resp.StatusCode, schemes: schemes(resp)}
	switch code := resp.StatusCode; {
	case code == 440:
		w.forms = true
	case code/100 == 3:
		switch logonPage(resp.Header.Get("Location")) {
		case logonForm:
			w.forms = true
		case logonOld:
			httpx.Drain(resp)
			return w, s.wrap("probe", driver.KindPermanent, errors.New("the server is an Exchange 5.5, which has no WebDAV"))
		default:
			if s.toTLS(resp) {
				httpx.Drain(resp)
				return w, s.wrap("probe", driver.KindPolicy, &ReplyError{Command: "GET", Code: code, Err: ErrTLSNeeded})
			}
			return w, s.refuse("probe", resp)
		}
	case code == http.StatusNotFound && resp.Header.Get("MS-WebStorage") != "":
		httpx.Drain(resp)
		return w, s.wrap("probe", driver.KindPermanent, &ReplyError{Command: "GET", Code: code, Err: ErrNoMailbox})
	case code == http.StatusNotFound:
		httpx.Drain(resp)
		return w, s.absent(ctx, &ReplyError{Command: "GET", Code: code})
	case code == http.StatusOK && isHTML(resp):
		page, err := readPage(resp)
		if err != nil {
			return w, err
		}
		w.forms = page.form() != nil
		return w, nil
	case code == http.StatusForbidden && s.origin.Scheme == "http", code >= 500 && code != http.StatusNotImplemented:
		return w, s.refuse("probe", resp)
	}
	httpx.Drain(resp)
	return w, nil
}

// toTLS tells of a redirect to the same host over https.
func (s *session) toTLS(resp *http.Response) bool {
	u, err := url.Parse(resp.Header.Get("Location"))
	return err == nil && s.origin.Scheme == "http" && u.Scheme == "https" && strings.EqualFold(u.Hostname(), s.origin.Hostname())
}

// start is where to look for the mailbox first.
func (s *session) start() davPath {
	if p := strings.Trim(s.path, "/"); p != "" {
		return davPath(encodeRest("/"+p) + "/")
	}
	return "/exchange/"
}

// anonymous sends a request without credentials, besides the cookies.
func (s *session) anonymous(ctx context.Context, c *call) (*http.Response, error) {
	req, err := s.request(ctx, c)
	if err != nil {
		return nil, err
	}
	resp, err := s.anon.Do(req)
	return resp, public(err)
}

// absent explains why there is nothing where a mailbox should be: a server with
// Outlook Web Access is an Exchange all the same (2007 with WebDAV switched
// off, or a later one).
func (s *session) absent(ctx context.Context, reply *ReplyError) error {
	reply.Err = ErrNotExchange
	resp, err := s.anonymous(ctx, &call{method: http.MethodGet, path: "/owa/", page: true, anyway: true})
	if err != nil {
		return err
	}
	if c := resp.StatusCode; c < 400 || c == http.StatusUnauthorized || c == 440 {
		reply.Err = ErrNotAvailable
	}
	httpx.Drain(resp)
	return s.wrap("probe", driver.KindPermanent, reply)
}

// findRoot finds the mailbox and the URLs of its folders, in the language of
// the mailbox. It is the first request that must succeed, and so the proof of
// the login.
func (s *session) findRoot(ctx context.Context) error {
	if strings.Trim(s.path, "/") != "" {
		return s.rootAt(ctx, s.start())
	}
	// The page of the mailbox names it in its base element.
	resp, err := s.do(ctx, &call{method: http.MethodGet, path: "/exchange/", page: true, anyway: true})
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK && isHTML(resp) {
		page, err := readPage(resp)
		if err != nil {
			return err
		}
		if root, err := hrefPath(page.base); err == nil && page.base != "" && root != "/" {
			if err := s.rootAt(ctx, root.dir()); codeOf(err) != http.StatusNotFound {
				return err
			}
		}
	} else {
		httpx.Drain(resp)
	}
	err = s.wrap("probe", driver.KindConfig, errors.New("the mailbox is not known: it belongs into the address, as in https://host/exchange/mailbox"))
	for _, name := range s.mailboxNames() {
		if err = s.rootAt(ctx, davPath("/exchange/").child(name).dir()); codeOf(err) != http.StatusNotFound {
			return err
		}
	}
	return err
}

// mailboxNames are the names that the mailbox may have: the mail address, the
// alias.
func (s *session) mailboxNames() []string {
	var names []string
	add := func(n string) {
		if n != "" && n != "." && n != ".." {
			names = append(names, n)
		}
	}
	user := s.net.User
	if i := strings.LastIndexByte(user, '\\'); i >= 0 {
		user = user[i+1:]
	}
	add(s.common.From.Addr)
	if strings.Contains(user, "@") {
		add(user)
		user, _, _ = strings.Cut(user, "@")
	}
	add(user)
	return names
}

// rootAt reads the properties of a mailbox.
func (s *session) rootAt(ctx context.Context, root davPath) error {
	c := &call{method: "PROPFIND", path: root, body: propfindBody(folderProps()...), header: map[string]string{
		"Depth": "0", "Content-Type": "text/xml; charset=utf-8", "Brief": "t",
	}}
	resp, err := s.do(ctx, c)
	if err != nil {
		return err
	}
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound && resp.Header.Get("MS-WebStorage") != "":
		reply := s.replyOf(c.method, resp)
		reply.Err = ErrNoMailbox
		httpx.Drain(resp)
		return s.wrap("propfind", driver.KindPermanent, reply)
	case code == http.StatusNotFound, code == http.StatusNotImplemented, code == http.StatusMethodNotAllowed:
		reply := s.replyOf(c.method, resp)
		httpx.Drain(resp)
		return s.absent(ctx, reply)
	case code != http.StatusMultiStatus:
		return s.refuse("propfind", resp)
	}
	props := map[string]davPath{}
	err = s.read("propfind", resp, few(func(r *response) error {
		for key, value := range r.props {
			if name, ok := strings.CutPrefix(key, nsHTTPMail); ok && strings.TrimSpace(value) != "" {
				p, err := hrefPath(value)
				if err != nil {
					return fmt.Errorf("%w: %w", errXML, err)
				}
				props[name] = p
			}
		}
		return nil
	}))
	if err != nil {
		return err
	}
	if len(props) == 0 {
		return s.absent(ctx, &ReplyError{Command: c.method, Code: http.StatusMultiStatus})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.root, s.props, s.folders = root, props, map[string]davPath{}
	return nil
}

// maxPage bounds a page of HTML.
const maxPage = 1 << 20

// readPage reads a page of HTML and closes the answer.
func readPage(resp *http.Response) (*page, error) {
	defer httpx.Drain(resp)
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return nil, err
	}
	return parsePage(string(b)), nil
}
