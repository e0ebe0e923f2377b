package imap

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/spool"
)

// labTool runs the lab's own tool.
func labTool(t testing.TB, args ...string) string {
	t.Helper()
	shared := os.Getenv("MAILDRIVER_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "shared")
	}
	tool, err := filepath.Abs(filepath.Join(shared, "lab", "lab"))
	if err == nil {
		_, err = os.Stat(tool)
	}
	if err != nil {
		t.Skip("the lab's tool is not there: ", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	require.NoError(t, err, "lab %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

func labPool(t testing.TB, lab *labtest.Lab) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(lab.Addr(t, "LAB_CA"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return pool
}

// at is a server of the lab at another address of this machine.
func at(t testing.TB, lab *labtest.Lab, ip, key string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(lab.Addr(t, key))
	require.NoError(t, err)
	return net.JoinHostPort(ip, port)
}

func login(user string) driver.Option { return driver.WithLogin(user, labtest.Password(user)) }

func countIn(t testing.TB, lab *labtest.Lab, user, folder string) int {
	t.Helper()
	f, err := newDriver(t, lab.Addr(t, "LAB_IMAP"), login(user)).Folders(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	st, err := f.Status(t.Context(), folder)
	require.NoError(t, err)
	return int(st.Messages)
}

func TestLabLogin(t *testing.T) {
	lab := labtest.Find(t)
	box := lab.Mailbox(t, "u10")
	box.Append(mails("a", "b", "c")...)
	tls := driver.WithRootCAs(labPool(t, lab))
	explicit := driver.WithSecurity(driver.SecurityExplicit)
	for _, c := range []struct {
		name, addr string
		opts       []driver.Option
	}{
		{"LOGIN command", lab.Addr(t, "LAB_IMAP"), []driver.Option{driver.WithMechanisms("CLEARTEXT")}},
		{"PLAIN", lab.Addr(t, "LAB_IMAP"), []driver.Option{driver.WithMechanisms("PLAIN")}},
		{"LOGIN", lab.Addr(t, "LAB_IMAP"), []driver.Option{driver.WithMechanisms("LOGIN")}},
		{"CRAM-MD5", lab.Addr(t, "LAB_IMAP"), []driver.Option{driver.WithMechanisms("CRAM-MD5")}},
		{"strongest in clear", lab.Addr(t, "LAB_IMAP"), []driver.Option{insecureOff}},
		{"STARTTLS", lab.Addr(t, "LAB_IMAP"), []driver.Option{tls, explicit, insecureOff}},
		{"STARTTLS required by the server", at(t, lab, "127.0.0.4", "LAB_IMAP"), []driver.Option{tls, explicit}},
		{"implicit TLS", lab.Addr(t, "LAB_IMAPS"), []driver.Option{tls, driver.WithSecurity(driver.SecurityImplicit)}},
		{"bare server", lab.Addr(t, "LAB_IMAP_BARE"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			mb := openBox(t, c.addr, append([]driver.Option{login("u10")}, c.opts...)...)
			ids := mustList(t, mb)
			require.Len(t, ids, 3)
			got, err := fetchAll(t.Context(), mb, ids)
			require.NoError(t, err)
			assert.Len(t, got, 3)
			require.NoError(t, mb.KeepAlive(t.Context()))
			require.NoError(t, mb.Commit(t.Context()))
		})
	}
}

func TestLabPasswordOfOddCharacters(t *testing.T) {
	lab := labtest.Find(t)
	for _, mech := range []string{"CLEARTEXT", "PLAIN", "LOGIN", "CRAM-MD5"} {
		mb, err := tryOpen(t, lab.Addr(t, "LAB_IMAP"), driver.WithLogin("special", `sp "q" \b ü€ %s`), driver.WithMechanisms(mech))
		require.NoError(t, err, mech)
		require.NoError(t, mb.Commit(t.Context()))
	}
}

func TestLabRefusals(t *testing.T) {
	lab := labtest.Find(t)
	tls := driver.WithRootCAs(labPool(t, lab))
	explicit := driver.WithSecurity(driver.SecurityExplicit)
	for _, c := range []struct {
		name, addr string
		opts       []driver.Option
		kind       driver.Kind
		code       string
	}{
		{"wrong password", lab.Addr(t, "LAB_IMAP"), []driver.Option{driver.WithLogin("u10", "wrong")}, driver.KindAuth, "AUTHENTICATIONFAILED"},
		{"expired certificate", at(t, lab, "127.0.0.2", "LAB_IMAP"), []driver.Option{tls, explicit}, driver.KindPolicy, ""},
		{"another host's certificate", at(t, lab, "127.0.0.3", "LAB_IMAP"), []driver.Option{tls, explicit}, driver.KindPolicy, ""},
		{"LOGINDISABLED", at(t, lab, "127.0.0.4", "LAB_IMAP"), nil, driver.KindAuth, ""},
		{"no such folder", lab.Addr(t, "LAB_IMAP"), []driver.Option{login("u10"), WithFolder("Nowhere/At all")}, driver.KindPermanent, ""},
		{"full", lab.Addr(t, "LAB_IMAP"), []driver.Option{driver.WithLogin("full", "full-secret"), WithFolder("Nowhere")}, driver.KindPermanent, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := tryOpen(t, c.addr, append([]driver.Option{login("u10")}, c.opts...)...)
			require.Error(t, err)
			assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
			if c.code != "" {
				assert.ErrorContains(t, err, "["+c.code+"]")
			}
		})
	}
}

// A server that announces nothing but IMAP4rev1: nothing is expunged unless
// that was permitted, and each mail comes once.
func TestLabBareServer(t *testing.T) {
	lab := labtest.Find(t)
	box := lab.Mailbox(t, "u11")
	addr := lab.Addr(t, "LAB_IMAP_BARE")
	box.Append(mails("a", "b")...)
	before := countIn(t, lab, "u11", "Archive")
	var got []string
	d := newDriver(t, addr, login("u11"))
	for range 3 {
		_, err := d.Poll(t.Context(), take(&got))
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"a", "b"}, got)
	assert.Equal(t, 2, box.Count(), "F12: marked, not expunged")
	res, err := d.Poll(t.Context(), take(&got), WithPlainExpunge())
	require.NoError(t, err)
	assert.Equal(t, 2, res.Removed)
	assert.Zero(t, box.Count())
	box.Append(mails("c")...)
	_, err = d.Poll(t.Context(), take(&got), WithMoveTo("Archive"), WithPlainExpunge())
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "c"}, got)
	assert.Equal(t, before+1, countIn(t, lab, "u11", "Archive"))
	assert.Zero(t, box.Count())
}

// Dovecot numbers the mailbox anew (F13).
func TestF13RenumberedLab(t *testing.T) {
	lab := labtest.Find(t)
	const user = "u12"
	box := lab.Mailbox(t, user)
	for i, leave := range []bool{true, false} {
		box.Append(mails("a", "b", "c")...)
		var got []string
		d := newDriver(t, lab.Addr(t, "LAB_IMAP"), login(user), driver.WithLeaveOnServer(true))
		_, err := d.Poll(t.Context(), take(&got), driver.WithBatchSize(2))
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b"}, got)
		validity := strconv.FormatInt(time.Now().Unix()+int64(i)*100+1000, 10)
		labTool(t, "doveadm", "mailbox", "update", "-u", user, "--uid-validity", validity, "INBOX")
		box.Append(mails("d")...)
		for range 2 {
			res, err := d.Poll(t.Context(), take(&got), driver.WithLeaveOnServer(leave))
			require.NoError(t, err)
			assert.Zero(t, res.Failed+res.Refused)
		}
		assert.Equal(t, []string{"a", "b", "c", "d"}, got, "F13: known ones are skipped, new ones offered")
		left := 0
		if leave {
			left = 4
		}
		assert.Equal(t, left, box.Count(), "F13")
		box.Empty()
	}
}

func TestLabFolders(t *testing.T) {
	lab := labtest.Find(t)
	const user = "u13"
	labTool(t, "reset", user)
	t.Cleanup(func() { labTool(t, "reset", user) })
	f := openFolders(t, lab.Addr(t, "LAB_IMAP"), login(user))
	ctx := t.Context()
	for _, role := range []Role{RoleSent, RoleJunk, RoleTrash, RoleDrafts} {
		path, err := f.ByRole(ctx, role)
		require.NoError(t, err)
		assert.NotEmpty(t, path, role)
	}
	before := countIn(t, lab, user, "Archive")
	const path = "Arbeit/Entw\u00fcrfe & \u53f0\u5317"
	require.NoError(t, f.Create(ctx, path))
	require.NoError(t, f.Subscribe(ctx, path))
	subscribed, err := f.Subscribed(ctx)
	require.NoError(t, err)
	found := false
	for _, x := range subscribed {
		found = found || x.Path == path
	}
	assert.True(t, found, "%v", subscribed)
	id, err := f.Append(ctx, path, strings.NewReader(mailA), int64(len(mailA)))
	require.NoError(t, err)
	assert.NotEmpty(t, id)
	_, err = f.Append(ctx, "SentItems", strings.NewReader(mailB), int64(len(mailB)), AppendFlags(`\Seen`))
	require.NoError(t, err)

	var got []string
	d := newDriver(t, lab.Addr(t, "LAB_IMAP"), login(user), WithFolder(path), WithMoveTo("Archive"))
	_, err = d.Poll(ctx, take(&got))
	require.NoError(t, err)
	_, err = d.Poll(ctx, take(&got), WithFolder("SentItems"), WithKeyword("$Seen2"))
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, got)
	st, err := f.Status(ctx, "Archive")
	require.NoError(t, err)
	assert.Equal(t, before+1, int(st.Messages))
	_, err = d.Poll(ctx, take(&got), WithFolder("INBOX"), WithMoveTo("Nowhere"))
	require.NoError(t, err, "an empty folder moves nothing")
}

// F11 with a real server: the folder is missing, nothing is deleted, nothing
// comes twice.
func TestF11MoveToMissingFolderLab(t *testing.T) {
	lab := labtest.Find(t)
	box := lab.Mailbox(t, "u13")
	box.Append(mails("a")...)
	var got []string
	for _, addr := range []string{lab.Addr(t, "LAB_IMAP"), lab.Addr(t, "LAB_IMAP_BARE")} {
		d := newDriver(t, addr, login("u13"), WithMoveTo("Nowhere"))
		for range 2 {
			_, err := d.Poll(t.Context(), take(&got))
			require.ErrorContains(t, err, "TRYCREATE")
		}
		assert.Equal(t, 1, box.Count(), "F11")
	}
	assert.Equal(t, []string{"a", "a"}, got, "once for each driver, whose records are its own")
}

// Two pollers on one mailbox: one works, the other gets the typed busy error.
func TestTwoPollersLab(t *testing.T) {
	lab := labtest.Find(t)
	box := lab.Mailbox(t, "u14")
	box.Append(mails("a")...)
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	defer func() { _ = sp.Close() }()
	inside, goOn := make(chan struct{}), make(chan struct{})
	first := newDriver(t, lab.Addr(t, "LAB_IMAP"), login("u14"), driver.WithSpool(sp))
	second := newDriver(t, lab.Addr(t, "LAB_IMAP"), login("u14"), driver.WithSpool(sp), WithFolder("inbox"))
	result := make(chan error, 1)
	go func() {
		_, err := first.Poll(t.Context(), driver.HandlerFunc(func(ctx context.Context, _ *driver.Event) error {
			close(inside)
			select {
			case <-goOn:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}))
		result <- err
	}()
	within(t, func() { <-inside })
	_, err = second.Poll(t.Context(), take(new([]string)))
	require.ErrorIs(t, err, driver.ErrMailboxBusy)
	assert.Equal(t, driver.KindBusy, driver.KindOf(err))
	close(goOn)
	within(t, func() { assert.NoError(t, <-result) })
	assert.Zero(t, box.Count())
}

func TestTwoThousandMailsLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	if testing.Short() {
		t.Skip("2,000 mails")
	}
	box := lab.Mailbox(t, "u19")
	labTool(t, "fill", "u19", "2000")
	d := newDriver(t, lab.Addr(t, "LAB_IMAP"), login("u19"), driver.WithBatchSize(500), driver.WithDeleteProcessed(true), driver.WithTimeout(30*time.Second))
	require.Equal(t, 2000, box.Count())
	ids := map[string]bool{}
	begin := time.Now()
	var all []driver.PollResult
	for more := true; more; {
		res, err := d.Poll(t.Context(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
			ids[ev.ID] = true
			return ev.DeleteTempFiles()
		}))
		require.NoError(t, err)
		more = res.More
		all = append(all, res)
	}
	t.Logf("2,000 mails in %v", time.Since(begin).Round(time.Millisecond))
	assert.Equal(t, 2000, len(ids), "%+v", all) //nolint:testifylint // the map is too long to be shown
	assert.Zero(t, box.Count())
}

// A mail that is delivered while IDLE waits is handed over within a second.
func TestIdleDeliveryLab(t *testing.T) {
	lab := labtest.Find(t)
	box := lab.Mailbox(t, "u15")
	d := newDriver(t, lab.Addr(t, "LAB_IMAP"), login("u15"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	arrived := make(chan time.Time, 10)
	ended := make(chan error, 1)
	polled := make(chan struct{}, 100)
	go func() {
		ended <- driver.Run(ctx, d, driver.HandlerFunc(func(context.Context, *driver.Event) error {
			arrived <- time.Now()
			return nil
		}), driver.WithPollingInterval(time.Hour), driver.WithReport(func(driver.PollResult, error) { polled <- struct{}{} }))
	}()
	within(t, func() { <-polled })
	var took []time.Duration
	for i := range 5 {
		begin := time.Now()
		box.Append(mails("m" + strconv.Itoa(i))...)
		select {
		case at := <-arrived:
			took = append(took, at.Sub(begin).Round(time.Millisecond))
		case <-ctx.Done():
			t.Fatal("the mail was never handed over")
		}
	}
	cancel()
	within(t, func() { assert.ErrorIs(t, <-ended, context.Canceled) })
	slices.Sort(took)
	t.Logf("handed over after %v", took)
	assert.Less(t, took[len(took)/2], time.Second)
}
