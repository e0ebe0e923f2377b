package smtp

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// lab reads the addresses of the test lab, or skips.
func lab(t *testing.T) map[string]string {
	t.Helper()
	dir := os.Getenv("LAB_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "maillab")
	}
	f, err := os.Open(filepath.Join(dir, "lab.env"))
	if err != nil {
		t.Skipf("the mail lab is not up: %v", err)
	}
	defer f.Close()
	env := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), "="); ok && !strings.HasPrefix(k, "#") {
			env[k] = v
		}
	}
	return env
}

func labCA(t *testing.T, env map[string]string) driver.Option {
	pem, err := os.ReadFile(env["LAB_CA"])
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return driver.WithRootCAs(pool)
}

func labDriver(t *testing.T, addr string, opts ...driver.Option) *Driver {
	d, err := New(addr, append([]driver.Option{driver.WithTimeout(20 * time.Second), WithDataTimeout(30 * time.Second)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return d
}

// labUser is the sender of these tests; its mail goes to users that no other
// test reads.
const labUser = "u46"

func labMessage(body string, to ...string) *driver.Message {
	m := message(body, to...)
	m.From, m.MessageID = labUser+"@example.com", ""
	return m
}

func at(addr, host string) string { return host + addr[strings.LastIndexByte(addr, ':'):] }

func TestLabLogin(t *testing.T) {
	t.Parallel()
	env := lab(t)
	ca, login := labCA(t, env), driver.WithLogin(labUser, labUser+"-secret")
	submission, smtps := at(env["LAB_SUBMISSION"], "localhost"), at(env["LAB_SMTPS"], "localhost")
	for _, mech := range []string{"", "PLAIN", "LOGIN", "CRAM-MD5"} {
		opts := []driver.Option{ca, login, WithNotify("FAILURE")}
		if mech != "" {
			opts = append(opts, driver.WithMechanisms(mech))
		}
		for _, addr := range []string{submission, smtps} {
			security := driver.SecurityExplicit
			if addr == smtps {
				security = driver.SecurityImplicit
			}
			t.Run(mech+" "+security.String(), func(t *testing.T) {
				t.Parallel()
				d := labDriver(t, addr, append(opts[:len(opts):len(opts)], driver.WithSecurity(security))...)
				rec, err := send(t, d, labMessage(plainText, "u47@example.com", "u48@example.com"))
				require.NoError(t, err)
				assert.Equal(t, 250, rec.Code)
				assert.Equal(t, "2.0.0", rec.Enhanced)
				assert.Equal(t, addr, rec.Server)
			})
		}
	}
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		d := labDriver(t, submission, ca, driver.WithLogin(labUser, "wrong"), explicit())
		rec, err := send(t, d, labMessage(plainText))
		assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
		assert.Equal(t, driver.KindAuth, driver.KindOf(err))
		assert.Equal(t, 535, rec.Code)
	})
	t.Run("TLS demanded", func(t *testing.T) {
		t.Parallel()
		d := labDriver(t, at(submission, "127.0.0.4"), ca)
		rec, err := send(t, d, labMessage(plainText))
		assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
		assert.Equal(t, 530, rec.Code)
		require.ErrorContains(t, err, "STARTTLS")
	})
	t.Run("exim", func(t *testing.T) {
		t.Parallel()
		d := labDriver(t, at(env["LAB_EXIM"], "localhost"), ca, login, explicit())
		_, err := send(t, d, labMessage(plainText, "u47@example.com"))
		require.NoError(t, err)
	})
}

func TestLabCertificates(t *testing.T) {
	t.Parallel()
	env := lab(t)
	for host, want := range map[string]string{
		"127.0.0.2": "the server's certificate expired on ",
		"127.0.0.3": "the server's certificate is for \"wrong.example.net",
	} {
		for security, addr := range map[driver.Security]string{
			driver.SecurityExplicit: env["LAB_SUBMISSION"], driver.SecurityImplicit: env["LAB_SMTPS"],
		} {
			d := labDriver(t, at(addr, host), labCA(t, env), driver.WithSecurity(security), driver.WithLogin(labUser, labUser+"-secret"))
			rec, err := send(t, d, labMessage(plainText))
			assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
			assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
			require.ErrorContains(t, err, want, "%s %v", host, security)
		}
	}
	// Without the lab's CA.
	d := labDriver(t, at(env["LAB_SUBMISSION"], "localhost"), explicit())
	_, err := send(t, d, labMessage(plainText))
	require.ErrorContains(t, err, "the server's certificate is signed by an unknown authority")
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
}

func TestLabAddresses(t *testing.T) {
	t.Parallel()
	env := lab(t)
	deferred, rejected, accepted := driver.DeliveryDeferred, driver.DeliveryRejected, driver.DeliveryAccepted
	tests := []struct {
		name, from, header string
		to                 []string
		want               driver.Delivery
		each               []driver.Delivery
		code               int
		enhanced, stage    string
	}{
		{name: "good", to: []string{"u47@example.com"}, want: accepted, code: 250, enhanced: "2.0.0"},
		{name: "null sender", from: "<>", to: []string{"u47@example.com"}, want: accepted, code: 250, enhanced: "2.0.0"},
		{name: "tempfail", to: []string{"tempfail@example.com"}, want: deferred, code: 450, enhanced: "4.2.1", stage: StageRCPT},
		{name: "reject", to: []string{"reject@example.com"}, want: rejected, code: 550, enhanced: "5.1.1", stage: StageRCPT},
		{name: "drop", to: []string{"drop@example.com"}, want: deferred, code: 421, enhanced: "4.3.2", stage: StageRCPT},
		{name: "drop after an accepted", to: []string{"u47@example.com", "drop@example.com"}, want: deferred, each: []driver.Delivery{deferred, deferred}, code: 421, enhanced: "4.3.2", stage: StageRCPT},
		{name: "badsender", from: "badsender@example.com", to: []string{"u47@example.com"}, want: rejected, code: 553, enhanced: "5.1.8", stage: ""},
		{name: "X-Lab", header: "X-Lab: reject\r\n", to: []string{"u47@example.com", "u48@example.com"}, want: rejected, code: 550, enhanced: "5.7.1", stage: StageDot},
		{
			name: "partly", to: []string{"u47@example.com", "reject@example.com", "tempfail@example.com"}, want: driver.DeliveryPartly,
			each: []driver.Delivery{accepted, rejected, deferred}, code: 550, enhanced: "5.1.1", stage: StageRCPT,
		},
		{name: "relaying", to: []string{"a@elsewhere.example"}, want: rejected, code: 554, enhanced: "5.7.1", stage: StageRCPT},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := labDriver(t, env["LAB_SMTP"])
			m := labMessage(tt.header+plainText, tt.to...)
			switch tt.from {
			case "":
			case "<>":
				m.From = ""
			default:
				m.From = tt.from
			}
			rec, err := send(t, d, m)
			assert.Equal(t, tt.want, rec.Delivery, "%v", err)
			assert.Equal(t, tt.code, rec.Code)
			assert.Equal(t, tt.enhanced, rec.Enhanced)
			for i, want := range tt.each {
				assert.Equal(t, want, rec.Recipients[i].Delivery, m.To[i].Address)
			}
			if tt.stage != "" {
				var re *ReplyError
				require.ErrorAs(t, err, &re)
				assert.Equal(t, tt.stage, re.Stage)
			}
		})
	}
}

func TestLabSinks(t *testing.T) {
	t.Parallel()
	env := lab(t)
	tests := []struct {
		sink string
		want driver.Delivery
		code int
		kind driver.Kind
	}{
		{"LAB_SINK_OK", driver.DeliveryAccepted, 250, driver.KindUnknown},
		{"LAB_SINK_RCPT_4XX", driver.DeliveryDeferred, 450, driver.KindTemporary},
		{"LAB_SINK_RCPT_5XX", driver.DeliveryRejected, 500, driver.KindPermanent},
		{"LAB_SINK_DATA_DROP", driver.DeliveryDeferred, 0, driver.KindTemporary},
		{"LAB_SINK_DOT_4XX", driver.DeliveryDeferred, 450, driver.KindTemporary},
		{"LAB_SINK_DOT_5XX", driver.DeliveryRejected, 500, driver.KindPermanent},
		{"LAB_SINK_NOEXT", driver.DeliveryAccepted, 250, driver.KindUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.sink, func(t *testing.T) {
			t.Parallel()
			rec, err := send(t, labDriver(t, env[tt.sink]), labMessage(plainText, "a@x.example", "b@x.example"))
			assert.Equal(t, tt.want, rec.Delivery, "%v", err)
			assert.Equal(t, tt.code, rec.Code)
			assert.Equal(t, tt.kind, driver.KindOf(err))
		})
	}
	t.Run("LAB_SINK_SLOW", func(t *testing.T) {
		t.Parallel()
		d := labDriver(t, env["LAB_SINK_SLOW"], driver.WithTimeout(500*time.Millisecond))
		rec, err := send(t, d, labMessage(plainText))
		assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
		require.ErrorContains(t, err, "no answer within")
	})
}

// TestLabHuge sends 200 MB and watches the heap.
func TestLabHuge(t *testing.T) {
	env := lab(t)
	if testing.Short() {
		t.Skip("short")
	}
	const size = 200 << 20
	d := labDriver(t, env["LAB_SINK_OK"])
	line := bytes.Repeat([]byte(strings.Repeat("QUJD", 19)+"\r\n"), 1000)
	var peak atomic.Uint64
	m := labMessage("", "a@x.example")
	m.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(&watched{io.LimitReader(&cycle{line: line}, size), &peak, 0}), nil
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	rec, err := sendWithin(t, 5*time.Minute, d, m)
	require.NoError(t, err)
	assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
	grown := int64(peak.Load()) - int64(before.HeapAlloc)
	t.Logf("%d MB in %v, heap grew by at most %d KiB", size>>20, time.Since(begin), grown>>10)
	assert.Less(t, grown, int64(16<<20), "memory must not grow with the message")
}

// cycle gives line for ever.
type cycle struct {
	line []byte
	at   int
}

func (c *cycle) Read(p []byte) (int, error) {
	n := copy(p, c.line[c.at:])
	c.at = (c.at + n) % len(c.line)
	return n, nil
}

// watched notes the highest heap while it is read.
type watched struct {
	io.Reader
	peak *atomic.Uint64
	n    int
}

func (w *watched) Read(p []byte) (int, error) {
	if w.n++; w.n%200 == 0 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		if s.HeapAlloc > w.peak.Load() {
			w.peak.Store(s.HeapAlloc)
		}
	}
	return w.Reader.Read(p)
}
