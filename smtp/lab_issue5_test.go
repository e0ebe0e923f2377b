package smtp

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/spool"
)

// labTool runs the lab's own command, or skips.
func labTool(t *testing.T, args ...string) {
	t.Helper()
	shared := os.Getenv("MAILDRIVER_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "shared")
	}
	tool, err := filepath.Abs(filepath.Join(shared, "lab", "lab"))
	require.NoError(t, err)
	if _, err := os.Stat(tool); err != nil {
		t.Skipf("the lab's tool is not there: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	require.NoError(t, err, "lab %v: %s", args, out)
}

// events polls a user's mailbox until want says that it is enough, and gives
// the fields of each mail.
func events(t *testing.T, env map[string]string, user string, want func([]map[string]string) bool) []map[string]string {
	t.Helper()
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	d, err := pop3.New(env["LAB_POP3"], driver.WithLogin(user, user+"-secret"), driver.WithInsecureAuth(), driver.WithSpool(sp), driver.WithTimeout(20*time.Second))
	require.NoError(t, err)
	defer func() { assert.NoError(t, d.Close()) }()
	var mu sync.Mutex
	var list []map[string]string
	got := func() []map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return append([]map[string]string{}, list...)
	}
	h := driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		fields := map[string]string{}
		for _, f := range ev.Fields() {
			fields[f.Name] = f.Value
		}
		if o := ev.Report.Primary(); o != nil {
			fields["hard"], fields["original"] = fmt.Sprint(o.Hard), ev.Report.Original.MessageID
		}
		mu.Lock()
		defer mu.Unlock()
		list = append(list, fields)
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !want(got()) {
		_, err := d.Poll(ctx, h)
		if ctx.Err() != nil {
			var subjects []string
			for _, f := range got() {
				subjects = append(subjects, f["Subject"])
			}
			t.Fatalf("did not arrive in time; there are: %q", subjects)
		}
		require.NoError(t, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return got()
}

// secondPostfix is held by TestLabFailover while it stops that server, and read
// by the tests that need it.
var secondPostfix sync.RWMutex

func useSecondPostfix(t *testing.T) {
	t.Helper()
	secondPostfix.RLock()
	t.Cleanup(secondPostfix.RUnlock)
}

// TestLabDSNRoundTrip asks for a notification of success and finds the ENVID in
// it again, over the POP3 driver.
func TestLabDSNRoundTrip(t *testing.T) {
	t.Parallel()
	env := lab(t)
	useSecondPostfix(t)
	for name, addr := range map[string]string{"postfix": env["LAB_SMTP"], "second postfix": env["LAB_SMTP2"]} {
		t.Run(name, func(t *testing.T) {
			labTool(t, "reset", "u50")
			d := labDriver(t, addr)
			m := labMessage(plainText, "u46@example.com")
			m.From, m.Return = "u50@example.com", "HDRS"
			m.EnvelopeID = fmt.Sprintf("job %d = %s", time.Now().UnixNano(), name)
			m.To[0].Notify = []string{"SUCCESS", "FAILURE"}
			m.To[0].Original = "rfc822;first+one@example.com"
			_, err := send(t, d, m)
			require.NoError(t, err)
			all := events(t, env, "u50", func(list []map[string]string) bool { return len(list) > 0 })
			assert.Equal(t, m.EnvelopeID, all[0]["DsnOriginalEnvelopeId"])
			assert.Equal(t, "True", all[0]["IsDeliveryStatusNotification"])
			assert.Contains(t, []string{"relayed", "delivered"}, all[0]["DsnAction"])
		})
	}
}

// TestLabUTF8 reaches a mailbox that has no name in ASCII, with a header in
// UTF-8, and reads it.
func TestLabUTF8(t *testing.T) {
	t.Parallel()
	env := lab(t)
	useSecondPostfix(t)
	stamp := time.Now().UnixNano()
	want := map[string]string{} // by Subject
	for name, addr := range map[string]string{"postfix": env["LAB_SMTP"], "second postfix": env["LAB_SMTP2"], "exim": env["LAB_EXIM"]} {
		var opts []driver.Option
		if name == "exim" {
			opts = []driver.Option{labCA(t, env), driver.WithLogin(labUser, labUser+"-secret"), explicit()}
			addr = at(addr, "localhost")
		}
		d := labDriver(t, addr, append(opts, driver.WithUTF8Headers(true))...)
		draft := &mime.Draft{
			From: mime.Address{Addr: labUser + "@example.com"}, To: []mime.Address{{Name: "Δοκιμή", Addr: "δοκιμή@example.com"}},
			Subject: fmt.Sprintf("δοκιμή %d %s", stamp, name), Text: "Grüße über " + name,
		}
		m, err := d.Compose(draft)
		require.NoError(t, err)
		assert.True(t, m.SMTPUTF8)
		rec, err := send(t, d, m)
		require.NoError(t, err, name)
		assert.Equal(t, 250, rec.Code)
		if name != "exim" { // it takes the mail; the lab's Exim has no such mailbox behind it
			want[draft.Subject] = draft.Text
		}
	}
	found := func(list []map[string]string) map[string]map[string]string {
		ours := map[string]map[string]string{}
		for _, f := range list {
			if _, ok := want[f["Subject"]]; ok {
				ours[f["Subject"]] = f
			}
		}
		return ours
	}
	got := found(events(t, env, "utf8", func(list []map[string]string) bool { return len(found(list)) == len(want) }))
	for subject, text := range want {
		assert.Equal(t, text, strings.TrimSpace(got[subject]["TextNote"]))
		assert.Equal(t, "Δοκιμή <δοκιμή@example.com>", strings.ReplaceAll(got[subject]["ToList"], `"`, ""))
	}
	// A server without it.
	_, err := send(t, labDriver(t, env["LAB_SINK_OK"]), labMessage(plainText, "δοκιμή@example.com"))
	var xe *ExtensionError
	require.ErrorAs(t, err, &xe)
	assert.Equal(t, "SMTPUTF8", xe.Extension)
}

// TestLabModes sends the same messages in every way to every server, several at
// a time over one connection, and counts them in the mailbox.
func TestLabModes(t *testing.T) {
	t.Parallel()
	env := lab(t)
	useSecondPostfix(t)
	login := []driver.Option{labCA(t, env), driver.WithLogin(labUser, labUser+"-secret"), explicit()}
	servers := map[string]struct {
		addr string
		opts []driver.Option
	}{
		"postfix": {env["LAB_SMTP"], nil}, "second postfix": {at(env["LAB_SUBMISSION2"], "localhost"), login},
		"exim": {at(env["LAB_EXIM"], "localhost"), login}, "LMTP": {env["LAB_LMTP"], []driver.Option{WithLMTP()}},
		"sink": {env["LAB_SINK_OK"], nil}, "sink without extensions": {env["LAB_SINK_NOEXT"], nil},
	}
	bodies := []string{plainText, plainText + "\xc3\xbc\r\n", big, plainText + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 20_000)}
	for name, s := range servers {
		for _, disable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", name, disable), func(t *testing.T) {
				t.Parallel()
				d := labDriver(t, s.addr, append(s.opts, WithDisableChunking(disable), WithMaxConnections(1))...)
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						rec, err := d.Send(t.Context(), labMessage(bodies[i%len(bodies)], "u47@example.com", "u48@example.com"))
						assert.NoError(t, err)
						assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
					})
				}
				wg.Wait()
			})
		}
	}
}

// TestLabRejectedBetween has messages refused at each stage between others that
// are accepted, all on one connection.
func TestLabRejectedBetween(t *testing.T) {
	t.Parallel()
	env := lab(t)
	useSecondPostfix(t)
	for _, addr := range []string{env["LAB_SMTP"], env["LAB_SMTP2"]} {
		for _, disable := range []bool{false, true} {
			d := labDriver(t, addr, WithDisableChunking(disable), WithMaxConnections(1))
			for _, step := range []struct {
				from, header, to string
				want             driver.Delivery
			}{
				{"", "", "u47", driver.DeliveryAccepted},
				{"", "", "tempfail", driver.DeliveryDeferred},
				{"", "", "reject", driver.DeliveryRejected},
				{"badsender", "", "u47", driver.DeliveryRejected},
				{"", "X-Lab: reject\r\n", "u47", driver.DeliveryRejected},
				{"", "", "drop", driver.DeliveryDeferred},
				{"", "", "u47", driver.DeliveryAccepted},
				{"", "", "nobody", driver.DeliveryAccepted},
			} {
				m := labMessage(step.header+plainText, step.to+"@example.com")
				m.From = "" // no bounces
				if step.from != "" {
					m.From = step.from + "@example.com"
				}
				rec, err := send(t, d, m)
				assert.Equal(t, step.want, rec.Delivery, "%s%s to %s: %v", step.from, step.header, step.to, err)
			}
		}
	}
}

// TestLabFailover stops the second Postfix under a running driver and starts it
// again.
func TestLabFailover(t *testing.T) {
	t.Parallel()
	env := lab(t)
	if testing.Short() {
		t.Skip("short")
	}
	labtest.Find(t).Mailbox(t, "u38") // another run of this test waits
	first, second := env["LAB_SMTP2"], env["LAB_SMTP"]
	const period = 500 * time.Millisecond
	d := labDriver(t, first, WithBackup(second), WithBackupPeriod(period), driver.WithTimeout(10*time.Second))
	try := func() string {
		m := labMessage(plainText, "u47@example.com")
		m.From = ""
		rec, err := send(t, d, m)
		require.NoError(t, err)
		return rec.Server
	}
	assert.Equal(t, first, try())
	secondPostfix.Lock()
	t.Cleanup(func() {
		labTool(t, "start", "postfix2")
		secondPostfix.Unlock()
	})
	labTool(t, "stop", "postfix2")
	for range 3 {
		assert.Equal(t, second, try(), "the first is down")
	}
	labTool(t, "start", "postfix2")
	require.Eventually(t, func() bool { return try() == first }, 20*time.Second, 50*time.Millisecond, "the first is used again")
	assert.Equal(t, first, try())
}
