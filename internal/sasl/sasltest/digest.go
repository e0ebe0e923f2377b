package sasltest

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// digest is DIGEST-MD5 (RFC 2831) with qop auth.
type digest struct {
	s     Setting
	nonce string
	user  string
	done  bool
}

const realm = "sasltest.invalid"

func (d *digest) Next(response []byte) ([]byte, bool, string, error) {
	switch {
	case d.done && len(response) == 0:
		return nil, true, d.user, nil
	case d.done:
		return nil, false, "", malformed("DIGEST-MD5: bytes after the server's proof")
	case d.nonce == "":
		if response != nil {
			return nil, false, "", malformed("DIGEST-MD5 has no initial response")
		}
		d.nonce = rand.Text()
		return []byte(`realm="` + realm + `",nonce="` + d.nonce + `",qop="auth",algorithm=md5-sess,charset=utf-8`), false, "", nil
	}
	v, ok := directives(string(response))
	if !ok {
		return nil, false, "", malformed("DIGEST-MD5: not a list")
	}
	uri := v["digest-uri"]
	if v["nonce"] != d.nonce || v["nc"] != "00000001" || v["qop"] != "auth" || v["cnonce"] == "" || v["charset"] != "utf-8" ||
		d.s.Host != "" && uri != d.s.Service+"/"+d.s.Host {
		return nil, false, "", malformed("DIGEST-MD5: nonce, nc, qop, cnonce, charset or digest-uri")
	}
	a := d.s.find(v["username"])
	if a == nil || v["realm"] != realm {
		return nil, false, "", ErrRefused
	}
	secret := md5.Sum([]byte(a.User + ":" + realm + ":" + a.Password))
	a1 := sum(string(secret[:]) + ":" + d.nonce + ":" + v["cnonce"])
	proof := func(a2 string) string {
		return sum(a1 + ":" + d.nonce + ":00000001:" + v["cnonce"] + ":auth:" + sum(a2))
	}
	if !equal(proof("AUTHENTICATE:"+uri), v["response"]) {
		return nil, false, "", ErrRefused
	}
	d.user, d.done = a.User, true
	return []byte("rspauth=" + proof(":"+uri)), false, "", nil
}

func sum(s string) string {
	h := md5.Sum([]byte(s))
	return hex.EncodeToString(h[:])
}

// directives reads a list in which each name comes once.
func directives(s string) (map[string]string, bool) {
	out := map[string]string{}
	for s != "" {
		name, rest, ok := strings.Cut(s, "=")
		if !ok || out[name] != "" {
			return nil, false
		}
		value := ""
		if strings.HasPrefix(rest, `"`) {
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' {
					i++
				}
				if i < len(rest) {
					value += rest[i : i+1]
				}
			}
			if i >= len(rest) {
				return nil, false
			}
			rest = rest[i+1:]
		} else {
			i := strings.IndexByte(rest+",", ',')
			value, rest = rest[:i], rest[i:]
		}
		out[name] = value
		if rest != "" && rest[0] != ',' {
			return nil, false
		}
		s = strings.TrimPrefix(rest, ",")
	}
	return out, true
}
