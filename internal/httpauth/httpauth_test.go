package httpauth

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// challenges is the table of the parser, and the seeds of its fuzzer. want lists
// each challenge as scheme, token and sorted parameters; err is part of the error.
var challenges = []struct {
	name   string
	fields []string
	want   []Challenge
	err    string
}{
	{"one", []string{`Basic realm="a b"`}, []Challenge{{"Basic", "", map[string]string{"realm": "a b"}}}, ""},
	{"no parameters", []string{`NTLM`, `Negotiate`}, []Challenge{{"NTLM", "", map[string]string{}}, {"Negotiate", "", map[string]string{}}}, ""},
	{"in one field", []string{`NTLM, Negotiate, Basic realm=x`}, []Challenge{{"NTLM", "", map[string]string{}}, {"Negotiate", "", map[string]string{}}, {"Basic", "", map[string]string{"realm": "x"}}}, ""},
	{"token", []string{`NTLM TlRMTVNTUAACAAAA==, Basic realm="x"`}, []Challenge{{"NTLM", "TlRMTVNTUAACAAAA==", map[string]string{}}, {"Basic", "", map[string]string{"realm": "x"}}}, ""},
	{"token that looks like a name", []string{`Bearer abc`}, []Challenge{{"Bearer", "abc", map[string]string{}}}, ""},
	{"RFC 9110 11.6.1", []string{`Basic realm="simple", Newauth realm="apps", type=1,
 title="Login to \"apps\""`}, nil, "token"},
	{"RFC 9110 11.6.1, unfolded", []string{`Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""`}, []Challenge{{"Basic", "", map[string]string{"realm": "simple"}}, {"Newauth", "", map[string]string{"realm": "apps", "type": "1", "title": `Login to "apps"`}}}, ""},
	{"comma and scheme in a string", []string{`Digest realm="a, Basic realm=b", nonce="n"`}, []Challenge{{"Digest", "", map[string]string{"realm": "a, Basic realm=b", "nonce": "n"}}}, ""},
	{"empty elements", []string{`, ,Basic realm=x,, ,NTLM,`}, []Challenge{{"Basic", "", map[string]string{"realm": "x"}}, {"NTLM", "", map[string]string{}}}, ""},
	{"spaces about =", []string{`Digest realm = "x" , nonce	=	y`}, []Challenge{{"Digest", "", map[string]string{"realm": "x", "nonce": "y"}}}, ""},
	{"names in any case", []string{`DIGEST Realm="x", NONCE=y`}, []Challenge{{"DIGEST", "", map[string]string{"realm": "x", "nonce": "y"}}}, ""},
	{"nothing", []string{``, ` `}, nil, ""},
	{"a string without end", []string{`Basic realm="x`}, []Challenge{{"Basic", "", map[string]string{}}}, "does not end"},
	{"an escape at the end", []string{`Basic realm="x\`}, []Challenge{{"Basic", "", map[string]string{}}}, "does not end"},
	{"no scheme", []string{`realm="x"`}, nil, "without a scheme"},
	{"twice", []string{`Basic realm=x, realm=y`}, []Challenge{{"Basic", "", map[string]string{"realm": "x"}}}, "twice"},
	{"no comma", []string{`Basic realm=x charset=y`}, []Challenge{{"Basic", "", map[string]string{"realm": "x"}}}, "comma"},
	{"no value", []string{`Basic a=b, realm=`}, []Challenge{{"Basic", "", map[string]string{"a": "b"}}}, "value is missing"},
	{"a control character", []string{"Basic realm=\"a\x00b\""}, []Challenge{{"Basic", "", map[string]string{}}}, "control"},
	{"too many", []string{strings.Repeat("NTLM,", 40)}, nil, "more than 32"},
	{"too long", []string{`Basic realm="` + strings.Repeat("x", 70<<10) + `"`}, nil, "longer than"},
}

func TestParse(t *testing.T) {
	for _, c := range challenges {
		got, err := Parse(c.fields)
		if c.err == "" {
			require.NoError(t, err, c.name)
			assert.Equal(t, c.want, got, c.name)
			continue
		}
		require.ErrorIs(t, err, ErrChallenge, c.name)
		assert.ErrorContains(t, err, c.err, c.name)
		if c.want != nil {
			assert.Equal(t, c.want, got, c.name)
		}
	}
	many := "Digest a=b"
	for i := range 70 {
		many += fmt.Sprintf(", p%d=x", i)
	}
	_, err := Parse([]string{many})
	assert.ErrorContains(t, err, "64 parameters")
}

func FuzzParse(f *testing.F) {
	for _, c := range challenges {
		f.Add(strings.Join(c.fields, "\n"))
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := Parse(strings.Split(s, "\n"))
		if len(list) > maxChallenges {
			t.Fatal("too many challenges")
		}
		for _, c := range list {
			if c.Scheme == "" || len(c.Params) > maxParams {
				t.Fatalf("%+v", c)
			}
			if err != nil || !c.Is("Digest") {
				continue
			}
			d := &Digest{Username: "ann", Password: "topsecret-pw", random: func() string { return "c" }}
			h, derr := d.Authorize("CONNECT", "h:1", c)
			if strings.ContainsAny(h, "\r\n\x00") || strings.Contains(h, "topsecret-pw") {
				t.Fatalf("%q", h)
			}
			if derr == nil {
				if again, err := Parse([]string{h}); err != nil || len(again) != 1 {
					t.Fatalf("%q: %v", h, err)
				}
			}
		}
	})
}

// field reads a parameter of what Authorize made.
func field(t *testing.T, header, name string) string {
	list, err := Parse([]string{header})
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0].Params[name]
}

// TestDigestVectors are the examples of RFC 7616 sections 3.9.1 and 3.9.2, and of
// RFC 2617 section 3.5.
func TestDigestVectors(t *testing.T) {
	const (
		nonce  = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
		cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
		opaque = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
	)
	at := func(algorithm, response string) {
		d := &Digest{Username: "Mufasa", Password: "Circle of Life", random: func() string { return cnonce }}
		c := Challenge{"Digest", "", map[string]string{"realm": "http-auth@example.org", "qop": "auth, auth-int", "algorithm": algorithm, "nonce": nonce, "opaque": opaque}}
		h, err := d.Authorize("GET", "/dir/index.html", c)
		require.NoError(t, err)
		assert.Equal(t, response, field(t, h, "response"), algorithm)
		assert.Equal(t, "00000001", field(t, h, "nc"))
		assert.Equal(t, opaque, field(t, h, "opaque"))
		h, err = d.Authorize("GET", "/dir/index.html", c)
		require.NoError(t, err)
		assert.Equal(t, "00000002", field(t, h, "nc"), "a nonce is counted")
		c.Params["nonce"] = "another"
		h, err = d.Authorize("GET", "/dir/index.html", c)
		require.NoError(t, err)
		assert.Equal(t, "00000001", field(t, h, "nc"), "a new one anew")
	}
	at("MD5", "8ca523f5e9506fed4657c9700eebdbec")
	at("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")

	old := &Digest{Username: "Mufasa", Password: "Circle Of Life", random: func() string { return "0a4f113b" }}
	h, err := old.Authorize("GET", "/dir/index.html", Challenge{"Digest", "", map[string]string{"realm": "testrealm@host.com", "qop": "auth", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093", "opaque": "5ccc069c403ebaf9f0171e9517f40e41"}})
	require.NoError(t, err)
	assert.Equal(t, "6629fae49393a05397450978507c4ef1", field(t, h, "response"))
	assert.NotContains(t, h, "algorithm", "which was not told")

	// RFC 7616 section 3.9.2: hashed user name, name of other letters. What the
	// RFC prints there is not SHA-512-256; this was computed with another library.
	d := &Digest{Username: "Jäsøn Doe", Password: "Secret, or not?", random: func() string { return "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm" }}
	c := Challenge{"Digest", "", map[string]string{"realm": "api@example.org", "qop": "auth", "algorithm": "SHA-512-256", "nonce": "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", "opaque": "HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", "charset": "UTF-8", "userhash": "true"}}
	h, err = d.Authorize("GET", "/doe.json", c)
	require.NoError(t, err)
	assert.Equal(t, "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b", field(t, h, "username"))
	assert.Equal(t, "7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c", field(t, h, "response"))
	assert.Equal(t, "true", field(t, h, "userhash"))
	delete(c.Params, "userhash")
	h, err = d.Authorize("GET", "/doe.json", c)
	require.NoError(t, err)
	assert.Equal(t, "UTF-8''J%C3%A4s%C3%B8n%20Doe", field(t, h, "username*"))
}

func TestDigestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		params map[string]string
		text   string
	}{
		"unknown algorithm":  {map[string]string{"nonce": "n", "algorithm": "SHA-3"}, "unknown algorithm"},
		"no nonce":           {map[string]string{"realm": "r"}, "no nonce"},
		"only auth-int":      {map[string]string{"nonce": "n", "qop": "auth-int"}, "qop auth"},
		"empty qop":          {map[string]string{"nonce": "n", "qop": ""}, "qop auth"},
		"sess without a qop": {map[string]string{"nonce": "n", "algorithm": "MD5-sess"}, "without qop"},
	} {
		d := &Digest{Username: "ann", Password: "topsecret-pw"}
		_, err := d.Authorize("GET", "/", Challenge{"Digest", "", c.params})
		require.ErrorIs(t, err, ErrDigest, name)
		assert.ErrorContains(t, err, c.text, name)
	}
	_, err := (&Digest{Username: "a\r\nX: y", Password: "p"}).Authorize("GET", "/", Challenge{"Digest", "", map[string]string{"nonce": "n"}})
	require.ErrorIs(t, err, ErrDigest)
	_, err = Basic("a:b", "p")
	require.Error(t, err)
	b, err := Basic("Aladdin", "open sesame")
	require.NoError(t, err)
	assert.Equal(t, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", b, "RFC 7617 section 2")
}

func TestDigestSession(t *testing.T) {
	d := &Digest{Username: "u", Password: "p"}
	c := Challenge{"Digest", "", map[string]string{"realm": "r", "nonce": "n", "qop": "auth", "algorithm": "SHA-256-sess"}}
	first, err := d.Authorize("GET", "/", c)
	require.NoError(t, err)
	second, err := d.Authorize("GET", "/", c)
	require.NoError(t, err)
	assert.Equal(t, field(t, first, "cnonce"), field(t, second, "cnonce"), "A1 of -sess is made of the first")
	assert.NotEqual(t, field(t, first, "response"), field(t, second, "response"))
	assert.GreaterOrEqual(t, len(field(t, first, "cnonce")), 20)
}

func TestBest(t *testing.T) {
	list, err := Parse([]string{`Digest realm=r, nonce=1, algorithm=MD5`, `Digest realm=r, nonce=2, algorithm=SHA-256`, `Digest realm=r, nonce=3, algorithm=NEW`, `Basic realm=r`})
	require.NoError(t, err)
	best, ok := Best(list)
	require.True(t, ok)
	assert.Equal(t, "2", best.Params["nonce"])
	_, ok = Best(list[2:])
	assert.False(t, ok)
	c, ok := Find(list, "basic")
	assert.True(t, ok)
	assert.True(t, c.Is("BASIC"))
	assert.False(t, c.Stale())
}

func TestA31DigestPrintsNoPassword(t *testing.T) {
	d := &Digest{Username: "u", Password: "hunter2-x"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		assert.NotContains(t, fmt.Sprintf(verb, d), "hunter2-x")
		assert.NotContains(t, fmt.Sprintf(verb, d), "68756e746572")
	}
}
