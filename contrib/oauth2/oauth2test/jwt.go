package oauth2test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Verify checks a signed assertion, RS256 or PS256, and its time, and gives its
// claims.
func Verify(jwt string, key *rsa.PublicKey) (map[string]any, error) {
	head, rest, ok := strings.Cut(jwt, ".")
	body, sig, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || key == nil {
		return nil, errors.New("not a signed JWT")
	}
	var header struct{ Alg string }
	var claims map[string]any
	if err := errors.Join(part(head, &header), part(body, &claims)); err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(head + "." + body))
	switch header.Alg {
	case "RS256":
		err = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw)
	case "PS256":
		err = rsa.VerifyPSS(key, crypto.SHA256, sum[:], raw, nil)
	default:
		err = errors.New("algorithm " + header.Alg)
	}
	if err != nil {
		return nil, err
	}
	if exp, _ := claims["exp"].(float64); time.Now().After(time.Unix(int64(exp), 0)) {
		return nil, errors.New("the assertion has ended")
	}
	return claims, nil
}

func part(text string, to any) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}
