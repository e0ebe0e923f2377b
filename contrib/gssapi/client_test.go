package gssapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

func start(t testing.TB, c *Client, service, host string) error {
	t.Helper()
	_, err := c.Start(t.Context(), service, host, nil)
	return err
}

// noSecret greps an error, in every form it is printed in, for what it must not
// show.
func noSecret(t *testing.T, err error) {
	t.Helper()
	key, _, kerr := testKeys().GetEncryptionKey(tgtName(testRealm), testRealm, 1, aes256)
	require.NoError(t, kerr)
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, secret := range []string{testPassword, "wr0ng-secret", string(key.KeyValue)} {
			for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%q", secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
				assert.NotContains(t, text, form)
			}
		}
	}
}

// One question for all who wait, none while the tickets are good, new ones a
// minute before their end.
func TestTicketsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKDC(t)
		c := k.client(right())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { assert.NoError(t, start(t, c, "imap", "mail.a.example")) })
		}
		wg.Wait()
		require.NoError(t, start(t, c, "smtp", "mail.a.example"))
		assert.Equal(t, 2, k.count("AS"))
		assert.Equal(t, 1, k.count("TGS imap"))
		assert.Equal(t, 1, k.count("TGS smtp"))
		time.Sleep(10*time.Hour - ticketMargin - 2*time.Second) // of the bubble's clock
		require.NoError(t, start(t, c, "imap", "mail.a.example"))
		assert.Equal(t, 1, k.count("TGS imap"))
		time.Sleep(2 * time.Second) // of the bubble's clock
		require.NoError(t, start(t, c, "imap", "mail.a.example"))
		assert.Equal(t, 4, k.count("AS"))
		assert.Equal(t, 2, k.count("TGS imap"))
	})
}

func TestCredentials(t *testing.T) {
	b, err := testKeys().Marshal()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "keytab")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	t.Setenv("GSSAPI_TEST_PASSWORD", testPassword)
	for name, cred := range map[string]Credentials{
		"password":         right(),
		"with realm":       Password("alice@A.EXAMPLE", driver.NewSecret(testPassword)),
		"from environment": Password("alice", driver.SecretFromEnv("GSSAPI_TEST_PASSWORD")),
		"keytab":           Keytab("alice@A.EXAMPLE", path),
	} {
		for _, preauth := range []bool{true, false} {
			t.Run(fmt.Sprint(name, preauth), func(t *testing.T) {
				k := newKDC(t)
				k.preauth = preauth
				require.NoError(t, start(t, k.client(cred), "imap", "mail.a.example"))
			})
		}
	}
}

func TestLoginFailures(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	wrong := keytab.New()
	require.NoError(t, wrong.AddEntry("alice", testRealm, "wr0ng-secret", time.Unix(1e9, 0), 1, aes256))
	b, err := wrong.Marshal()
	require.NoError(t, err)
	wrongKeytab := write("wrong", b)
	good, err := testKeys().Marshal()
	require.NoError(t, err)
	wrongPassword := Password("alice", driver.NewSecret("wr0ng-secret"))
	for name, tt := range map[string]struct {
		cred   Credentials
		change func(*fakeKDC)
		kind   driver.Kind
		is     error
		step   string
		says   string
	}{
		"wrong password":             {cred: wrongPassword, kind: driver.KindAuth, is: ErrWrongPassword, step: StepLogin},
		"wrong password, no preauth": {cred: wrongPassword, change: func(k *fakeKDC) { k.preauth = false }, kind: driver.KindAuth, is: ErrWrongPassword, step: StepLogin},
		"wrong keytab":               {cred: Keytab("alice", wrongKeytab), kind: driver.KindAuth, is: ErrWrongPassword, step: StepLogin},
		"keytab without the user":    {cred: Keytab("bob", wrongKeytab), change: func(k *fakeKDC) { k.raw = nil }, kind: driver.KindAuth, is: ErrUnknownPrincipal, step: StepLogin},
		"keytab with another type": {
			cred: Keytab("alice", wrongKeytab), change: func(k *fakeKDC) { k.etypes = []int32{17} },
			kind: driver.KindConfig, step: StepLogin, says: "no key of type 17",
		},
		"no keytab":        {cred: Keytab("alice", filepath.Join(dir, "none")), kind: driver.KindConfig, step: StepCredentials, says: "no such file"},
		"a directory":      {cred: Keytab("alice", dir), kind: driver.KindConfig, step: StepCredentials, says: "not a regular file"},
		"not a keytab":     {cred: Keytab("alice", write("text", []byte("hello"))), kind: driver.KindConfig, step: StepCredentials, says: "not a keytab"},
		"a keytab cut":     {cred: Keytab("alice", write("cut", good[:len(good)-10])), kind: driver.KindConfig, step: StepCredentials, says: "not a keytab"},
		"a huge keytab":    {cred: Keytab("alice", write("huge", make([]byte, maxFile+1))), kind: driver.KindConfig, is: driver.ErrLimit, step: StepCredentials},
		"empty password":   {cred: Password("alice", driver.Secret{}), kind: driver.KindConfig, step: StepCredentials, says: "password is empty"},
		"password not set": {cred: Password("alice", driver.SecretFromEnv("GSSAPI_NOT_SET")), kind: driver.KindConfig, step: StepCredentials, says: "GSSAPI_NOT_SET"},
		"unknown user":     {cred: Password("nobody", driver.NewSecret("x")), kind: driver.KindAuth, is: ErrUnknownPrincipal, step: StepLogin},
		"2^32 iterations":  {change: func(k *fakeKDC) { k.params = []byte{0, 0, 0, 0} }, kind: driver.KindConfig, is: driver.ErrLimit, step: StepLogin},
		"16M iterations":   {change: func(k *fakeKDC) { k.params = []byte{1, 0, 0, 0} }, kind: driver.KindConfig, is: driver.ErrLimit, step: StepLogin},
		"odd parameters":   {change: func(k *fakeKDC) { k.params = []byte{1} }, kind: driver.KindConfig, is: driver.ErrLimit, step: StepLogin},
		"iterations later": {change: func(k *fakeKDC) { k.preauth, k.params = false, []byte{0, 0, 0, 0} }, kind: driver.KindProtocol, is: driver.ErrLimit, step: StepLogin},
		"only RC4":         {change: func(k *fakeKDC) { k.etypes = []int32{23} }, kind: driver.KindConfig, step: StepLogin, says: "no encryption type in common"},
		"no types":         {change: func(k *fakeKDC) { k.etypes = nil }, kind: driver.KindConfig, step: StepLogin, says: "no encryption type in common"},
		"weak session key": {change: func(k *fakeKDC) { k.tamperAS = func(e *messages.EncKDCRepPart) { e.Key.KeyType = 23 } }, kind: driver.KindProtocol, step: StepLogin, says: "type 23, which was not offered"},
		"another nonce":    {change: func(k *fakeKDC) { k.tamperAS = func(e *messages.EncKDCRepPart) { e.Nonce++ } }, kind: driver.KindProtocol, step: StepLogin, says: "another request"},
		"another service":  {change: func(k *fakeKDC) { k.tamperAS = func(e *messages.EncKDCRepPart) { e.SName = tgtName("B.EXAMPLE") } }, kind: driver.KindProtocol, step: StepLogin, says: "another service"},
		"clock ahead": {change: func(k *fakeKDC) {
			k.tamperAS = func(e *messages.EncKDCRepPart) { e.StartTime = e.StartTime.Add(time.Hour) }
		}, kind: driver.KindLocal, is: ErrClockSkew, step: StepLogin, says: "ahead"},
		"clock behind": {change: func(k *fakeKDC) {
			k.tamperAS = func(e *messages.EncKDCRepPart) { e.EndTime = e.EndTime.Add(-20 * time.Hour) }
		}, kind: driver.KindLocal, is: ErrClockSkew, step: StepLogin, says: "had ended"},
		"TGS nonce": {change: func(k *fakeKDC) { k.tamperTGS = func(e *messages.EncKDCRepPart) { e.Nonce++ } }, kind: driver.KindProtocol, step: StepService, says: "another request"},
		"TGS other service": {change: func(k *fakeKDC) {
			k.tamperTGS = func(e *messages.EncKDCRepPart) { e.SName.NameString = []string{"smtp", "mail.a.example"} }
		}, kind: driver.KindProtocol, step: StepService, says: "not the one the KDC signed for"},
		"TGS no name":      {change: func(k *fakeKDC) { k.tamperTGS = func(e *messages.EncKDCRepPart) { e.SName.NameString = nil } }, kind: driver.KindProtocol, step: StepService, says: "malformed"},
		"password expired": {change: func(k *fakeKDC) { k.raw = func([]byte) []byte { return k.refuse(errorcode.KDC_ERR_KEY_EXPIRED, nil) } }, kind: driver.KindAuth, is: ErrAccount, step: StepLogin},
		"locked": {change: func(k *fakeKDC) {
			k.raw = func([]byte) []byte { return k.refuse(errorcode.KDC_ERR_CLIENT_REVOKED, nil) }
		}, kind: driver.KindAuth, is: ErrAccount, step: StepLogin},
		"skew":         {change: func(k *fakeKDC) { k.raw = func([]byte) []byte { return k.refuse(errorcode.KRB_AP_ERR_SKEW, nil) } }, kind: driver.KindLocal, is: ErrClockSkew, step: StepLogin},
		"unknown code": {change: func(k *fakeKDC) { k.raw = func([]byte) []byte { return k.refuse(4711, nil) } }, kind: driver.KindAuth, step: StepLogin, says: "4711"},
		"preauth, garbage": {change: func(k *fakeKDC) {
			k.raw = func([]byte) []byte { return k.refuse(errorcode.KDC_ERR_PREAUTH_REQUIRED, []byte("x")) }
		}, kind: driver.KindConfig, step: StepLogin, says: "malformed"},
		"smart card only": {change: func(k *fakeKDC) {
			k.raw = func([]byte) []byte { return k.refuse(errorcode.KDC_ERR_PREAUTH_REQUIRED, []byte{0x30, 0}) }
		}, kind: driver.KindConfig, step: StepLogin, says: "not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKDC(t)
			if tt.change != nil {
				tt.change(k)
			}
			if tt.cred.kind == 0 {
				tt.cred = right()
			}
			err := start(t, k.client(tt.cred), "imap", "mail.a.example")
			require.Error(t, err)
			assert.Equal(t, tt.kind, driver.KindOf(err), "%v", err)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			e, ok := errors.AsType[*Error](err)
			require.True(t, ok)
			assert.Equal(t, tt.step, e.Step, "%v", err)
			assert.Contains(t, err.Error(), tt.says)
			noSecret(t, err)
		})
	}
}

func TestUnknownService(t *testing.T) {
	k := newKDC(t)
	err := start(t, k.client(right()), "nntp", "mail.a.example")
	require.ErrorIs(t, err, ErrUnknownService)
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	assert.Contains(t, err.Error(), `"nntp/mail.a.example@A.EXAMPLE"`)
}

// The KDC's own check of our clock.
func TestOurClockIsWrong(t *testing.T) {
	k := newKDC(t)
	c := k.client(right())
	c.now = func() time.Time { return time.Now().Add(time.Hour) }
	err := start(t, c, "imap", "mail.a.example")
	require.ErrorIs(t, err, ErrClockSkew)
	assert.Equal(t, driver.KindLocal, driver.KindOf(err))
}

// Faults of the first KDC: the second one serves. With both faulty the error
// says what each did.
func TestKDCFaults(t *testing.T) {
	for how, says := range map[string]string{
		"dead": "connection refused", "mute": "no answer within 5s", "close": "EOF", "cut": "EOF",
		"huge": "longer than 262144 bytes", "busy": "not available",
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKDC(t)
				k.byName["kdc1.a.example"] = how
				c := k.client(right())
				require.NoError(t, start(t, c, "imap", "mail.a.example"))
				k.byName["kdc2.a.example"] = how
				begun := time.Now()
				err := start(t, c, "smtp", "mail.a.example")
				require.ErrorIs(t, err, ErrUnreachable)
				assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
				assert.Equal(t, 2, strings.Count(err.Error(), says), "%v", err)
				assert.LessOrEqual(t, time.Since(begun), 2*DefaultTimeout)
			})
		})
	}
	for _, how := range []string{"garbage", "empty"} {
		t.Run(how, func(t *testing.T) {
			k := newKDC(t)
			k.byName["kdc1.a.example"] = how
			err := start(t, k.client(right()), "imap", "mail.a.example")
			assert.Equal(t, driver.KindProtocol, driver.KindOf(err), "%v", err)
			assert.ErrorContains(t, err, "malformed")
		})
	}
}

// A mute KDC holds nobody longer than his context, neither who asks nor who
// waits for him.
func TestMuteKDCAndContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKDC(t)
		k.byName["kdc1.a.example"] = "mute"
		c := k.client(right())
		cause := errors.New("the session ended")
		var wg sync.WaitGroup
		begun := time.Now()
		for i := range 3 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(i+1)*time.Second, cause)
				defer cancel()
				_, err := c.Start(ctx, "imap", "mail.a.example", nil)
				assert.ErrorIs(t, err, cause)
				assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
				assert.Equal(t, time.Duration(i+1)*time.Second, time.Since(begun))
			})
		}
		wg.Wait()
		require.NoError(t, start(t, c, "imap", "mail.a.example"), "after 5 s the second KDC")
	})
}

// Referrals (RFC 6806 section 8) and realms known from the configuration.
func TestRealms(t *testing.T) {
	for name, tt := range map[string]struct {
		refer map[string]string
		host  string
		asked []string
		says  string
	}{
		"referred": {
			refer: map[string]string{"imap/mail.b.example@A.EXAMPLE": "B.EXAMPLE"}, host: "mail.b.example",
			asked: []string{"imap/mail.b.example@A.EXAMPLE", "imap/mail.b.example@B.EXAMPLE"},
		},
		"twice": {
			refer: map[string]string{"imap/mail.b.example@A.EXAMPLE": "C.EXAMPLE", "imap/mail.b.example@C.EXAMPLE": "B.EXAMPLE"}, host: "mail.b.example",
			asked: []string{"imap/mail.b.example@A.EXAMPLE", "imap/mail.b.example@C.EXAMPLE", "imap/mail.b.example@B.EXAMPLE"},
		},
		"configured":      {host: "mail.known.example", asked: []string{"krbtgt/B.EXAMPLE@A.EXAMPLE", "imap/mail.known.example@B.EXAMPLE"}},
		"named by caller": {host: "mail.b.example@B.EXAMPLE", asked: []string{"krbtgt/B.EXAMPLE@A.EXAMPLE", "imap/mail.b.example@B.EXAMPLE"}},
		"configured, by another realm": {
			refer: map[string]string{"krbtgt/B.EXAMPLE@A.EXAMPLE": "C.EXAMPLE"}, host: "mail.known.example",
			asked: []string{"krbtgt/B.EXAMPLE@A.EXAMPLE", "krbtgt/B.EXAMPLE@C.EXAMPLE", "imap/mail.known.example@B.EXAMPLE"},
		},
		"to itself": {refer: map[string]string{"imap/mail.b.example@A.EXAMPLE": "A.EXAMPLE"}, host: "mail.b.example", says: "refers to itself"},
		"in a circle": {
			refer: map[string]string{"imap/mail.b.example@A.EXAMPLE": "B.EXAMPLE", "imap/mail.b.example@B.EXAMPLE": "A.EXAMPLE"}, host: "mail.b.example",
			says: "more than 8 referrals",
		},
		"to nowhere": {refer: map[string]string{"imap/mail.b.example@A.EXAMPLE": "D.EXAMPLE"}, host: "mail.b.example", says: "names no KDC"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKDC(t)
			k.refer = tt.refer
			err := start(t, k.client(right()), "imap", tt.host)
			if tt.says != "" {
				require.ErrorContains(t, err, tt.says)
				return
			}
			require.NoError(t, err)
			var asked []string
			for _, a := range k.asked {
				if s, ok := strings.CutPrefix(a, "TGS "); ok {
					asked = append(asked, s)
				}
			}
			assert.Equal(t, tt.asked, asked)
		})
	}
}

func TestNewErrors(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "krb5.conf")
	require.NoError(t, os.WriteFile(bad, []byte("[libdefaults]\n clockskew = never\n"), 0o600))
	for name, tt := range map[string]struct {
		cred Credentials
		opts []Option
		says string
	}{
		"no credentials":  {Credentials{}, nil, "no credentials"},
		"no file":         {right(), []Option{WithConfigFile(filepath.Join(dir, "none"))}, "no such file"},
		"bad file":        {right(), []Option{WithConfigFile(bad)}, "libdefaults section"},
		"empty text":      {right(), []Option{WithConfig("")}, "text is empty"},
		"no dialer":       {right(), []Option{WithDial(nil)}, "function is nil"},
		"no timeout":      {right(), []Option{WithTimeout(0)}, "not positive"},
		"no realm":        {right(), []Option{WithConfig("[libdefaults]\n")}, "names no realm"},
		"no name":         {Password("@A.EXAMPLE", driver.Secret{}), nil, "part of the name is empty"},
		"empty part":      {Password("a//b", driver.Secret{}), nil, "part of the name is empty"},
		"control":         {Password("a\x00b", driver.Secret{}), nil, "control character"},
		"long":            {Password(strings.Repeat("x", 2000), driver.Secret{}), nil, "longer than 1024 bytes"},
		"weak types only": {right(), []Option{WithConfig("[libdefaults]\n default_realm = A\n default_tkt_enctypes = rc4-hmac\n allow_weak_crypto = true\n")}, "no AES"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tt.cred, append([]Option{WithConfig(testConf)}, tt.opts...)...)
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err))
		})
	}
}

func TestStartErrors(t *testing.T) {
	k := newKDC(t)
	c := k.client(right())
	for _, p := range [][2]string{{"", "h"}, {"imap", ""}, {"imap/x", "h"}, {"imap", "a/b"}, {"imap", "a b"}, {"im@p", "h"}, {"imap", strings.Repeat("x", 2000)}} {
		err := start(t, c, p[0], p[1])
		assert.Equal(t, driver.KindConfig, driver.KindOf(err), "%q: %v", p, err)
	}
	assert.Empty(t, k.asked)
	err := start(t, c, "imap", "mail.a.example@Z.EXAMPLE")
	require.ErrorContains(t, err, "does not know the service")
}

// Servers take an equal time stamp for a replay.
func TestStampsDiffer(t *testing.T) {
	c := newKDC(t).client(right())
	now := time.Now()
	c.now = func() time.Time { return now }
	seen := map[time.Time]bool{}
	for range 1000 {
		s := c.stamp()
		assert.False(t, seen[s])
		seen[s] = true
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "krb5.conf")
	require.NoError(t, os.WriteFile(path, []byte(testConf), 0o600))
	t.Setenv("KRB5_CONFIG", path)
	k := newKDC(t)
	c, err := New(right(), WithDial(k.dial))
	require.NoError(t, err)
	require.NoError(t, start(t, c, "imap", "mail.a.example"))
}

// A ticket-granting ticket that the KDC no longer takes, because its key was
// changed, is replaced once; what is wrong with a fresh one is the answer.
func TestStaleTGT(t *testing.T) {
	k := newKDC(t)
	c := k.client(right())
	require.NoError(t, start(t, c, "imap", "mail.a.example"))
	assert.Equal(t, 2, k.count("AS"))
	k.refuseTGS = []int32{errorcode.KRB_AP_ERR_BADKEYVER}
	require.NoError(t, start(t, c, "smtp", "mail.a.example"))
	assert.Equal(t, 4, k.count("AS"))
	k.refuseTGS = []int32{errorcode.KDC_ERR_TGT_REVOKED, errorcode.KDC_ERR_TGT_REVOKED}
	err := start(t, c, "HTTP", "mail.a.example")
	require.ErrorIs(t, err, ErrExpired)
	assert.Equal(t, 6, k.count("AS"))
	k.refuseTGS = []int32{errorcode.KDC_ERR_POLICY}
	require.ErrorIs(t, start(t, c, "HTTP", "mail.a.example"), ErrAccount)
	assert.Equal(t, 8, k.count("AS"), "the revoked one is forgotten")
	require.NoError(t, start(t, c, "HTTP", "mail.a.example"))
	assert.Equal(t, 8, k.count("AS"), "a refusal of the service is none of the ticket")
}

// Who has a good ticket does not wait for those whose KDC is mute.
func TestGoodTicketsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKDC(t)
		c := k.client(right())
		require.NoError(t, start(t, c, "imap", "mail.a.example"))
		k.byName["kdc1.a.example"] = "mute"
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, start(t, c, "smtp", "mail.a.example")) })
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, start(t, c, "imap", "mail.a.example"))
		assert.Zero(t, time.Since(begun))
		wg.Wait()
		assert.Equal(t, DefaultTimeout, time.Since(begun))
	})
}

// Printing what a debugger would print shows no key.
func TestNothingPrintsKeys(t *testing.T) {
	k := newKDC(t)
	c := k.client(right())
	sc, _ := begin(t, c, "imap", nil)
	held := c.held("imap/mail.a.example@")
	text := fmt.Sprintf("%v %+v %#v %s %x", sc, sc, sc, sc, sc) + fmt.Sprintf("%+v %#v", c, c) + fmt.Sprintf("%+v %#v", right(), right())
	for _, secret := range [][]byte{[]byte(testPassword), held.key.KeyValue, sc.(*secContext).key.KeyValue} {
		assert.NotContains(t, text, string(secret))
		assert.NotContains(t, text, fmt.Sprintf("%x", secret))
		assert.NotContains(t, text, strings.Trim(fmt.Sprint(secret), "[]"))
		assert.NotContains(t, text, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"))
	}
}
