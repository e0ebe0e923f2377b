// Package nettest holds the tests of what all drivers share below login, with
// the drivers over it: proxies, TLS, certificates, secrets and traces.
package nettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews"
	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/spool"
	"github.com/maildriver/maildriver/webdav"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A protocol opens a session with a server and proves that it got through:
// logged in and listed the mailbox, or was refused a recipient by name.
type protocol struct {
	name string
	run  func(t *testing.T, addr string, opts ...driver.Option) error
}

var protocols = []protocol{{"SMTP", runSMTP}, {"POP3", runPOP3}, {"IMAP", runIMAP}}

// runSMTP sends to a recipient that the lab's Postfix always refuses: nothing
// is delivered, and its refusal comes only behind the login.
func runSMTP(t *testing.T, addr string, opts ...driver.Option) error {
	d, err := smtp.New(addr, opts...)
	if err != nil {
		return err
	}
	defer d.Close()
	m, err := driver.NewMessage(&mime.Draft{
		From: mime.Address{Addr: "alice@example.com"}, To: []mime.Address{{Addr: "reject@example.com"}},
		Subject: "not to arrive", Text: marker + "\r\n",
	})
	require.NoError(t, err)
	_, err = d.Send(t.Context(), m)
	if re, ok := errors.AsType[*smtp.ReplyError](err); ok && re.Stage == smtp.StageRCPT && re.Code == 550 {
		return nil
	}
	return err
}

// marker is in the content of every mail of these tests.
const marker = "content-nobody-else-may-see"

func runPOP3(t *testing.T, addr string, opts ...driver.Option) error {
	d, err := pop3.New(addr, append(opts, driver.WithSpool(newSpool(t)), driver.WithLeaveOnServer(true))...)
	if err != nil {
		return err
	}
	return poll(t, d)
}

func runIMAP(t *testing.T, addr string, opts ...driver.Option) error {
	d, err := imap.New(addr, append(opts, driver.WithSpool(newSpool(t)), driver.WithLeaveOnServer(true))...)
	if err != nil {
		return err
	}
	return poll(t, d)
}

// overHTTP are EWS and WebDAV, and what they connect with.
var overHTTP = []protocol{{"HTTP", runHTTP}, {"HTTPS", runHTTP}, {"EWS", runEWS}, {"WEBDAV", runWebDAV}}

func runHTTP(t *testing.T, addr string, opts ...driver.Option) error {
	return post(t, addr+"/open/echo", opts...)
}

// post sends to an echo of the lab's Apache.
func post(t *testing.T, addr string, opts ...driver.Option) error {
	n, common := driver.NewNetwork(), driver.NewCommon()
	if err := driver.Apply(opts, &n, &common); err != nil {
		return err
	}
	u, err := url.Parse(addr)
	if err != nil {
		return err
	}
	c, err := httpx.New(&n, httpx.Options{Driver: "WEBDAV", URL: u, Log: common.Logger})
	if err != nil {
		return err
	}
	defer c.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.String(), strings.NewReader(marker))
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err == nil && (resp.StatusCode != http.StatusOK || string(body) != marker) {
		err = fmt.Errorf("status %d, %q", resp.StatusCode, body)
	}
	return err
}

func newSpool(t *testing.T) *spool.Spool {
	s, err := spool.New(t.TempDir())
	require.NoError(t, err)
	return s
}

func poll(t *testing.T, d driver.Driver) error {
	defer d.Close()
	_, err := d.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
	return err
}

// all runs every mail protocol at the same time.
func all(run func(p protocol) error) []error { return each(protocols, run) }

func each(list []protocol, run func(p protocol) error) []error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		wg.Go(func() { errs[i] = run(p) })
	}
	wg.Wait()
	return errs
}

// A table is printed at the end of a matrix test.
type table struct {
	t     *testing.T
	title string
	rows  [][]string
}

func (m *table) add(cells ...string) { m.rows = append(m.rows, cells) }

func (m *table) print() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, r := range m.rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
	m.t.Logf("%s\n%s", m.title, b.String())
}

// verdict is the cell of an outcome: the kind of the error, and what is known of
// it.
func verdict(err error) string {
	if err == nil {
		return "through"
	}
	what := err.Error()
	if pe, ok := errors.AsType[*driver.ProxyError](err); ok {
		what = pe.Step
		if pe.Code != 0 {
			what += fmt.Sprintf(" %d", pe.Code)
		}
	}
	if ce, ok := errors.AsType[*driver.CertificateError](err); ok {
		what += " " + ce.Problem.String()
		if !strings.Contains(err.Error(), " proxy") {
			what = ce.Problem.String()
		}
	}
	return driver.KindOf(err).String() + ": " + what[:min(len(what), 80)]
}

// soon is a time-out for peers that answer at once or never.
const soon = 5 * time.Second

// runEWS polls a fake Exchange.
func runEWS(t *testing.T, _ string, opts ...driver.Option) error {
	srv := ewstest.NewServer()
	defer srv.Close()
	d, err := ews.New(strings.Replace(srv.PlainURL, "127.0.0.1", "localhost", 1), append(opts, driver.WithSpool(newSpool(t)),
		driver.WithLogin(ewstest.User, ewstest.Password), driver.WithInsecureAuth(), driver.WithLeaveOnServer(true))...)
	if err != nil {
		return err
	}
	return poll(t, d)
}

// runWebDAV polls a collection of the lab's Apache.
func runWebDAV(t *testing.T, addr string, opts ...driver.Option) error {
	d, err := webdav.New(addr+"/basic/dav/", append(opts, webdav.WithPlain(), driver.WithSpool(newSpool(t)),
		driver.WithLogin("alice", "alice-secret"), driver.WithInsecureAuth(), driver.WithLeaveOnServer(true))...)
	if err != nil {
		return err
	}
	return poll(t, d)
}
