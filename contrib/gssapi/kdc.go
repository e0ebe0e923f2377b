package gssapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/messages"

	"github.com/maildriver/maildriver/driver"
)

// maxKDCs bounds how many KDCs of a realm are asked for one answer.
const maxKDCs = 8

// exchange asks the KDCs of a realm until one answers. A KRB-ERROR is an
// answer, found with messages.KRBError.Unmarshal.
func (c *Client) exchange(ctx context.Context, step, realm string, request []byte) ([]byte, error) {
	kdcs, err := c.kdcs(ctx, realm)
	if err != nil {
		if ctx.Err() != nil {
			return nil, contextError(ctx, step, realm)
		}
		return nil, fail(driver.KindConfig, step, realm, err)
	}
	var errs []error
	for _, addr := range kdcs {
		answer, err := c.ask(ctx, addr, request)
		if err == nil {
			if k := asError(answer); k == nil || k.ErrorCode != errorcode.KDC_ERR_SVC_UNAVAILABLE {
				return answer, nil
			}
			err = errors.New("the service is not available")
		}
		if ctx.Err() != nil {
			return nil, contextError(ctx, step, realm)
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	return nil, fail(driver.KindTemporary, step, realm, fmt.Errorf("%w: %w", ErrUnreachable, errors.Join(errs...)))
}

// asError parses a KRB-ERROR; nil if the answer is none.
func asError(b []byte) *messages.KRBError {
	k, err := guard(func() (*messages.KRBError, error) {
		k := new(messages.KRBError)
		return k, k.Unmarshal(b)
	})
	if err != nil {
		return nil
	}
	return k
}

// ask sends one request to one KDC over TCP (RFC 4120 section 7.2.2).
func (c *Client) ask(ctx context.Context, addr string, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no answer within %v: %w", c.timeout, context.DeadlineExceeded))
	defer cancel()
	conn, err := c.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, ended(ctx, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, err := talk(conn, request)
	if err != nil {
		return nil, ended(ctx, err)
	}
	return answer, nil
}

func talk(conn net.Conn, request []byte) ([]byte, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil { //nolint:gosec // some KB
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxAnswer {
		return nil, fmt.Errorf("the answer is longer than %d bytes: %w", MaxAnswer, driver.ErrLimit)
	}
	answer := make([]byte, n)
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// kdcs lists the KDCs of a realm: those of the configuration in its order, else
// those in DNS if the configuration says so (RFC 4120 section 7.2.3.2).
func (c *Client) kdcs(ctx context.Context, realm string) ([]string, error) {
	var list []string
	for _, r := range c.conf.Realms {
		if r.Realm == realm {
			for _, addr := range r.KDC {
				list = append(list, strings.TrimSuffix(addr, "*"))
			}
		}
	}
	if len(list) == 0 && c.conf.LibDefaults.DNSLookupKDC {
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		_, records, err := net.DefaultResolver.LookupSRV(ctx, "kerberos", "tcp", realm)
		if err != nil {
			return nil, fmt.Errorf("DNS has no KDC: %w", err)
		}
		for _, r := range records {
			list = append(list, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))))
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the configuration names no KDC of the realm")
	}
	return list[:min(len(list), maxKDCs)], nil
}
