package netx

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"

	"github.com/maildriver/maildriver/driver"
)

func (h *hop) portBytes() ([]byte, error) {
	n, err := strconv.ParseUint(h.port, 10, 16)
	if err != nil || n == 0 {
		return nil, h.fail("request", driver.KindConfig, fmt.Errorf("the port %q is not one of 1 to 65535", h.port))
	}
	return []byte{byte(n >> 8), byte(n)}, nil
}

// ask sends bytes and reads exactly len(answer): what follows is the server's.
func (h *hop) ask(nc net.Conn, step string, question, answer []byte) error {
	if _, err := nc.Write(question); err != nil {
		return h.broken(step, err)
	}
	return h.read(nc, step, answer)
}

func (h *hop) read(nc net.Conn, step string, answer []byte) error {
	if _, err := io.ReadFull(nc, answer); err != nil {
		return h.broken(step, err)
	}
	return nil
}

func (h *hop) broken(step string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the proxy closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return h.fail(step, driver.KindTemporary, err)
}

// socks5 is RFC 1928. The proxy gets the name, not the address: what is looked
// up is nobody else's business (A29).
func (h *hop) socks5(nc net.Conn, ip netip.Addr) error {
	port, err := h.portBytes()
	if err != nil {
		return err
	}
	h.note("SOCKS5 proxy %s", h.addr)
	offer := []byte{5, 1, 0}
	if h.user != "" {
		offer = []byte{5, 2, 0, 2}
	}
	var chosen [2]byte
	if err := h.ask(nc, "greeting", offer, chosen[:]); err != nil {
		return err
	}
	switch {
	case chosen[0] != 5:
		return h.fail("greeting", driver.KindProtocol, errors.New("the proxy does not speak SOCKS5"))
	case chosen[1] == 0:
	case chosen[1] == 2 && h.user != "":
		if err := h.login5(nc); err != nil {
			return err
		}
	case chosen[1] == 0xff && h.user == "":
		return h.fail("login", driver.KindAuth, errors.New("the proxy wants a login: driver.WithProxyLogin"))
	case chosen[1] == 0xff:
		return h.fail("login", driver.KindAuth, errors.New("the proxy takes no login with user name and password"))
	default:
		return h.fail("login", driver.KindProtocol, fmt.Errorf("the proxy chose login method %d, which was not offered", chosen[1]))
	}
	request := []byte{5, 1, 0}
	switch {
	case ip.Unmap().Is4():
		four := ip.Unmap().As4()
		request = append(append(request, 1), four[:]...)
	case ip.IsValid():
		six := ip.As16()
		request = append(append(request, 4), six[:]...)
	default:
		request = append(append(request, 3, byte(len(h.host))), h.host...)
	}
	var head [4]byte
	if err := h.ask(nc, "request", append(request, port...), head[:]); err != nil {
		return err
	}
	if head[0] != 5 {
		return h.fail("request", driver.KindProtocol, errors.New("the proxy does not speak SOCKS5"))
	}
	if code := int(head[1]); code != 0 {
		return h.failCode("request", driver.KindTemporary, code, errors.New(reply5(code)))
	}
	return h.bound5(nc, head[3])
}

// bound5 reads the rest of the reply, the proxy's own address.
func (h *hop) bound5(nc net.Conn, atyp byte) error {
	n := 0
	switch atyp {
	case 1:
		n = 4
	case 4:
		n = 16
	case 3:
		var size [1]byte
		if err := h.read(nc, "request", size[:]); err != nil {
			return err
		}
		n = int(size[0])
	default:
		return h.fail("request", driver.KindProtocol, fmt.Errorf("an address of unknown type %d", atyp))
	}
	return h.read(nc, "request", make([]byte, n+2))
}

// login5 is RFC 1929. The lengths were checked.
func (h *hop) login5(nc net.Conn) error {
	if h.password == "" {
		return h.fail("login", driver.KindConfig, errors.New("the proxy wants a password, and there is none"))
	}
	q := append([]byte{1, byte(len(h.user))}, h.user...)
	q = append(append(q, byte(len(h.password))), h.password...)
	var a [2]byte
	if err := h.ask(nc, "login", q, a[:]); err != nil {
		return err
	}
	if a[0] != 1 {
		return h.fail("login", driver.KindProtocol, fmt.Errorf("the proxy's answer is of version %d, not 1", a[0]))
	}
	if a[1] != 0 {
		return h.failCode("login", driver.KindAuth, int(a[1]), errRefused)
	}
	return nil
}

var errRefused = errors.New("the proxy refuses the user name or password")

// reply5 puts a reply code of RFC 1928 section 6 into words.
func reply5(code int) string {
	switch code {
	case 1:
		return "the proxy failed"
	case 2:
		return "the proxy's rules forbid the connection"
	case 3:
		return "the proxy finds the network unreachable"
	case 4:
		return "the proxy finds the host unreachable"
	case 5:
		return "the server refuses the proxy's connection"
	case 6:
		return "the proxy's connection took too long"
	case 7:
		return "the proxy does not know the command"
	case 8:
		return "the proxy does not know this type of address"
	}
	return fmt.Sprintf("the proxy refuses with code %d", code)
}

// socks4 is the protocol of that name, and its extension 4a, which has names.
func (h *hop) socks4(nc net.Conn, ip netip.Addr) error {
	port, err := h.portBytes()
	if err != nil {
		return err
	}
	h.note("%v proxy %s", h.kind, h.addr)
	four := [4]byte{0, 0, 0, 1} // no address: a name follows (4a)
	named := !ip.Unmap().Is4()
	if !named {
		four = ip.Unmap().As4()
	}
	q := append([]byte{4, 1}, port...)
	q = append(append(q, four[:]...), h.user...)
	q = append(q, 0)
	if named {
		q = append(append(q, h.host...), 0)
	}
	var a [8]byte
	if err := h.ask(nc, "request", q, a[:]); err != nil {
		return err
	}
	if a[0] != 0 {
		return h.fail("request", driver.KindProtocol, errors.New("the proxy does not speak SOCKS4"))
	}
	switch code := int(a[1]); code {
	case 90:
		return nil
	case 91:
		return h.failCode("request", driver.KindTemporary, code, errors.New("the proxy refuses the connection, or it failed"))
	case 92, 93:
		return h.failCode("login", driver.KindAuth, code, errors.New("the proxy refuses the user id"))
	default:
		return h.failCode("request", driver.KindProtocol, code, fmt.Errorf("the proxy answers with the unknown code %d", code))
	}
}
