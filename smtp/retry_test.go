package smtp

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// A script is a sender that answers as told, each call with the next line: a
// letter for each recipient, a(ccepted) d(eferred) r(ejected) u(nknown).
type script struct {
	lines []string
	kind  driver.Kind
	to    [][]string
	at    []time.Time
}

func (s *script) Send(_ context.Context, m *driver.Message, _ ...driver.Option) (driver.Receipt, error) {
	line := s.lines[0]
	s.lines = s.lines[1:]
	var to []string
	results := make([]result, len(m.To))
	for i, r := range m.To {
		to = append(to, r.Address)
		results[i] = result{decided: true, delivery: map[byte]driver.Delivery{
			'a': driver.DeliveryAccepted, 'd': driver.DeliveryDeferred, 'r': driver.DeliveryRejected, 'u': driver.DeliveryUnknown,
		}[line[i]]}
	}
	s.to, s.at = append(s.to, to), append(s.at, time.Now())
	rec, err := conclude(m, "x", results, nil)
	if err != nil && s.kind != driver.KindUnknown {
		err = &driver.Error{Kind: s.kind, Err: err}
	}
	return rec, err
}

func TestRetrier(t *testing.T) {
	tests := []struct {
		name   string
		lines  []string
		repeat bool
		kind   driver.Kind
		want   driver.Delivery
		each   string
		to     []string
	}{
		{name: "at once", lines: []string{"aa"}, want: driver.DeliveryAccepted, each: "aa", to: []string{"b c"}},
		{name: "deferred, then accepted", lines: []string{"dd", "ad", "a"}, want: driver.DeliveryAccepted, each: "aa", to: []string{"b c", "b c", "c"}},
		{name: "partly", lines: []string{"ar"}, want: driver.DeliveryPartly, each: "ar", to: []string{"b c"}},
		{name: "partly, the rest later", lines: []string{"ad", "r"}, want: driver.DeliveryPartly, each: "ar", to: []string{"b c", "c"}},
		{name: "rejected", lines: []string{"rr"}, want: driver.DeliveryRejected, each: "rr", to: []string{"b c"}},
		{name: "unknown is never repeated", lines: []string{"uu"}, want: driver.DeliveryUnknown, each: "uu", to: []string{"b c"}},
		{name: "unknown stays unknown", lines: []string{"ud", "a"}, want: driver.DeliveryUnknown, each: "ua", to: []string{"b c", "c"}},
		{name: "unknown, repeated on demand", lines: []string{"uu", "aa"}, repeat: true, want: driver.DeliveryAccepted, each: "aa", to: []string{"b c", "b c"}},
		{name: "tries used up", lines: []string{"dd", "dd", "dd"}, want: driver.DeliveryDeferred, each: "dd", to: []string{"b c", "b c", "b c"}},
		{name: "will not heal", lines: []string{"dd"}, kind: driver.KindPolicy, want: driver.DeliveryDeferred, each: "dd", to: []string{"b c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{lines: tt.lines, kind: tt.kind}
				r := &Retrier{Sender: s, Tries: 3, Min: time.Minute, Max: 90 * time.Second, RepeatUnknown: tt.repeat}
				m := message(plainText, "b", "c")
				rec, err := r.Send(t.Context(), m)
				assert.Equal(t, tt.want, rec.Delivery)
				assert.Equal(t, tt.want, driver.DeliveryOf(err), "%v", err)
				var each, to []string
				for _, x := range rec.Recipients {
					each = append(each, x.Delivery.String()[:1])
				}
				for _, x := range s.to {
					to = append(to, strings.Join(x, " "))
				}
				assert.Equal(t, tt.each, strings.Join(each, ""))
				assert.Equal(t, tt.to, to)
				assert.Len(t, m.To, 2, "the message is not changed")
				for i := 1; i < len(s.at); i++ {
					wait := s.at[i].Sub(s.at[i-1])
					limit := min(time.Minute<<(i-1), 90*time.Second)
					assert.LessOrEqual(t, wait, limit)
					assert.GreaterOrEqual(t, wait, limit/2)
				}
			})
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	rec, err := (&Retrier{Sender: &script{lines: []string{"d"}}}).Send(ctx, message(plainText, "b"))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	require.Error(t, err)
}

func TestLongBody(t *testing.T) {
	long := strings.Repeat("Grüße ", 4000)
	head := "MIME-Version: 1.0\r\n"
	latin1 := "Content-Type: text/plain; charset=iso-8859-1\r\n"
	alternative := head + "Content-Type: multipart/alternative; boundary=B\r\n\r\n--B\r\n\r\nshort\r\n--B\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + strings.ReplaceAll(long, "Grüße Grüße ", "Grüße <b>\r\n") + "\r\n--B--\r\n"
	tests := []struct {
		name, body string
		always     bool
		file, want string
	}{
		{name: "short", body: plainText},
		{name: "short, always", body: plainText, always: true, file: "SiebelLongEmailBody.txt", want: "first\r\n.second\r\n..\r\n"},
		{name: "long text", body: head + "Content-Type: text/plain; charset=utf-8\r\n\r\n" + strings.ReplaceAll(long, " ", "\r\n"), file: "SiebelLongEmailBody.txt", want: strings.ReplaceAll(long, " ", "\r\n")},
		{name: "long HTML", body: alternative, file: "SiebelLongEmailBody.htm", want: strings.ReplaceAll(long, "Grüße Grüße ", "Grüße <b>\r\n")},
		{name: "longer in UTF-8", body: head + latin1 + "Content-Transfer-Encoding: 8bit\r\n\r\n" + strings.Repeat("\xe9", 70) + strings.Repeat("\r\n"+strings.Repeat("\xe9", 70), 200) + "\r\n", file: "SiebelLongEmailBody.txt", want: strings.Repeat("é", 70) + strings.Repeat("\r\n"+strings.Repeat("é", 70), 200) + "\r\n"},
		{name: "longer in UTF-8, base64", body: head + latin1 + "Content-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat(strings.Repeat("6enp", 18)+"\r\n", 180), file: "SiebelLongEmailBody.txt", want: strings.Repeat("é", 54*180)},
		{name: "not so long in UTF-8", body: head + latin1 + "Content-Transfer-Encoding: 8bit\r\n\r\n" + strings.Repeat(strings.Repeat("\xe9", 70)+"\r\n", 100)},
		{name: "long attachment", body: head + "Content-Type: text/plain; name=x.txt\r\n\r\n" + strings.Repeat("x\r\n", 10000)},
	}
	srv, d := start(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			rec, err := send(t, d, message(tt.body), WithLongBody(dir, tt.always))
			require.NoError(t, err)
			files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
			require.NoError(t, err)
			if tt.file == "" {
				assert.Empty(t, rec.BodyFile)
				assert.Empty(t, files)
				return
			}
			assert.Equal(t, tt.file, filepath.Base(rec.BodyFile))
			assert.Equal(t, []string{rec.BodyFile}, files)
			got, err := os.ReadFile(rec.BodyFile)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
			info, err := os.Stat(rec.BodyFile)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
		})
	}
	assert.NotContains(t, string(srv.Messages()[1].Data), longBodyName, "it is not sent")
}
