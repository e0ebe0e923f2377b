package gssapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/crypto/etype"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/maildriver/maildriver/driver"
)

// Credentials are how a [Client] proves who it is. They are immutable.
type Credentials struct {
	kind      credKind
	principal string
	password  driver.Secret
	path      string
}

type credKind uint8

const (
	fromPassword credKind = iota + 1
	fromKeytab
	fromCache
)

// Password logs in with a password. principal is a name with or without realm,
// such as "alice@EXAMPLE.COM". The secret is got from its place at each login.
func Password(principal string, password driver.Secret) Credentials {
	return Credentials{kind: fromPassword, principal: principal, password: password}
}

// Keytab logs in with a key from a file, which is read at each login.
func Keytab(principal, path string) Credentials {
	return Credentials{kind: fromKeytab, principal: principal, path: path}
}

// CCache uses the tickets in a credential cache as kinit writes it: a path,
// with or without "FILE:" before it; "" means the environment variable
// KRB5CCNAME, else /tmp/krb5cc_ and the user's id. The file is read when a
// ticket is needed, and never written.
func CCache(path string) Credentials { return Credentials{kind: fromCache, path: path} }

// cachePath finds the file.
func (c *Credentials) cachePath() (string, error) {
	path := c.path
	if path == "" {
		path = os.Getenv("KRB5CCNAME")
	}
	if path == "" {
		path = "/tmp/krb5cc_" + strconv.Itoa(os.Getuid())
	}
	if kind, rest, ok := strings.Cut(path, ":"); ok && len(kind) > 1 { // C:\ is a drive
		if !strings.EqualFold(kind, "FILE") {
			return path, fmt.Errorf("caches of kind %s are not supported, only FILE", quote(kind))
		}
		path = rest
	}
	return path, nil
}

// keyFunc gives the long-term key for an encryption type. salt and params come
// from the KDC; params may be nil.
type keyFunc func(et etype.EType, salt string, params []byte, kvno int) (types.EncryptionKey, error)

// key opens the credentials.
func (c *Client) key(ctx context.Context, name types.PrincipalName, realm string) (keyFunc, error) {
	who := name.PrincipalNameString() + "@" + realm
	if c.cred.kind == fromPassword {
		secret, err := c.cred.password.Resolve(ctx)
		if err == nil && secret.Reveal() == "" {
			err = errors.New("the password is empty")
		}
		if err != nil {
			return nil, fail(driver.KindConfig, StepCredentials, who, err)
		}
		return func(et etype.EType, salt string, params []byte, _ int) (types.EncryptionKey, error) {
			p, err := iterations(et, params)
			if err != nil {
				return types.EncryptionKey{}, err
			}
			k, err := et.StringToKey(secret.Reveal(), salt, p)
			return types.EncryptionKey{KeyType: et.GetETypeID(), KeyValue: k}, err
		}, nil
	}
	kt, err := readKeytab(c.cred.path)
	if err != nil {
		return nil, fail(driver.KindConfig, StepCredentials, c.cred.path, err)
	}
	return func(et etype.EType, _ string, _ []byte, kvno int) (types.EncryptionKey, error) {
		k, _, err := kt.GetEncryptionKey(name, realm, kvno, et.GetETypeID())
		if err != nil {
			err = fmt.Errorf("the keytab has no key of type %d for %s", et.GetETypeID(), quote(who))
		}
		return k, err
	}, nil
}

// maxIterations bounds the work that a KDC, or who pretends to be one, may ask
// for before it has proved anything; the usual numbers are 4096 and 32768.
const maxIterations = 1 << 17

// iterations reads string-to-key parameters (RFC 3962 section 4): four bytes,
// of which zero means 2^32.
func iterations(et etype.EType, params []byte) (string, error) {
	if len(params) == 0 {
		return et.GetDefaultStringToKeyParams(), nil
	}
	n := uint64(0)
	for _, b := range params {
		n = n<<8 | uint64(b)
	}
	if len(params) != 4 || n == 0 || n > maxIterations {
		return "", fmt.Errorf("the KDC asks for more than %d iterations: %w", maxIterations, driver.ErrLimit)
	}
	return fmt.Sprintf("%08x", n), nil
}

func readKeytab(path string) (*keytab.Keytab, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	kt, err := guard(func() (*keytab.Keytab, error) {
		kt := keytab.New()
		return kt, kt.Unmarshal(b)
	})
	if err != nil {
		return nil, errors.New("not a keytab") // the parser's text shows keys
	}
	return kt, nil
}

// readFile reads a regular file of bounded size.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // opening a FIFO would wait
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, withoutPath(err)
	}
	f, err := os.Open(path) //nolint:gosec // the host names it
	if err != nil {
		return nil, withoutPath(err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("longer than %d bytes: %w", maxFile, driver.ErrLimit)
	}
	return b, err
}

// withoutPath: [Error] has it already.
func withoutPath(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

// strong keeps the AES types: their messages are those of RFC 4121, and the
// older ones are broken or retired (RFC 8429). If the configuration says nothing
// the ones with SHA-2 (RFC 8009), which gokrb5 leaves out of its list, are asked
// for too.
func strong(ids, unset []int32) []int32 {
	if slices.Equal(ids, unset) {
		return []int32{
			etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA1_96,
			etypeID.AES256_CTS_HMAC_SHA384_192, etypeID.AES128_CTS_HMAC_SHA256_128,
		}
	}
	list := make([]int32, 0, len(ids))
	for _, id := range ids {
		if isAES(id) {
			list = append(list, id)
		}
	}
	return list
}

func isAES(id int32) bool {
	return id >= etypeID.AES128_CTS_HMAC_SHA1_96 && id <= etypeID.AES256_CTS_HMAC_SHA384_192
}

// aes gives the implementation of a type that we take.
func aes(id int32) (etype.EType, error) {
	if !isAES(id) {
		return nil, fmt.Errorf("encryption type %d is not AES", id)
	}
	return crypto.GetEtype(id)
}
