package driver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParamType says how a parameter's text is read.
type ParamType uint8

// The types of parameters.
const (
	ParamText     ParamType = iota // any text without control characters
	ParamBool                      // TRUE or FALSE, also YES/NO, Y/N, ON/OFF, 1/0
	ParamInt                       // a decimal number
	ParamDuration                  // seconds, or a Go duration such as 1m30s
	ParamSecret                    // as text, or env:NAME or file:PATH (ParseSecret), and never printed
	ParamPath                      // a path of this machine
)

func (t ParamType) String() string {
	return [...]string{"text", "TRUE or FALSE", "number", "seconds", "secret", "path"}[t]
}

// A Param is one row of the table of parameters that a driver documents.
// Names are compared without regard to case, spaces, '-' and '_'.
type Param struct {
	Name    string   // the canonical spelling
	Aliases []string // other spellings found in the field
	// Session is the attribute of a session description (create_session) that
	// means the same. It counts only for a driver opened alone, not in a pair,
	// where it would be ambiguous.
	Session string
	Type    ParamType
	// Default is what holds when the row is absent, as text for the reader.
	Default string
	// Ours marks a default, or a whole row, that no vendor document states.
	Ours     bool
	Required bool
	Min, Max int64    // for ParamInt and, in seconds, ParamDuration; both 0: any
	Choices  []string // the only values, compared like names
	Text     string   // what it does, in one sentence
}

// Params is what a protocol package exports for the [Registry]: its table, and
// how the values become a driver.
type Params struct {
	Protocol string // "POP3"
	Rows     []Param
	// Options turns the values into the address and the options of New. It
	// reports every value that it can't use, joined.
	Options func(v Values) (addr string, opts []Option, err error)
	// New is the package's constructor.
	New func(addr string, opts ...Option) (Driver, error)
	// Targets makes what New hands to Apply, with the defaults set: it tells
	// which options New takes, so that those of a host reach the right half of
	// a pair, and checks options before New is called.
	Targets func() []any
}

// Read reads parameters by the table, as for a driver opened alone, into the
// address and options of New. Every wrong row is reported, all in one error of
// kind [KindConfig]; what could be read is returned in any case.
func (p Params) Read(parameters map[string]string) (addr string, opts []Option, err error) {
	v, rerr := ReadParameters(p.Rows, true, parameters)
	addr, opts, oerr := p.Options(v)
	aerr := Apply(opts, p.Targets()...)
	if rerr != nil || oerr != nil || aerr != nil {
		return addr, opts, configError(p.Protocol, []error{rerr, oerr, aerr})
	}
	return addr, opts, nil
}

// A ParamError names a parameter that is wrong. It never holds a secret.
type ParamError struct {
	Name string
	Err  error
}

func (e *ParamError) Error() string { return fmt.Sprintf("parameter %q: %v", e.Name, e.Err) }
func (e *ParamError) Unwrap() error { return e.Err }

// Errors inside a [ParamError].
var (
	ErrUnknownParameter   = errors.New("unknown parameter")
	ErrParameterRequired  = errors.New("a value is required")
	ErrDuplicateParameter = errors.New("given more than once")
)

// Values are parameters that were read by their table. It is not changed once
// made, and may be read by any number of goroutines.
type Values struct{ m map[string]value }

type value struct {
	text string
	b    bool
	n    int64
	d    time.Duration
	s    Secret
}

// Has reports whether the row was given. Names are canonical ones.
func (v Values) Has(name string) bool { _, ok := v.m[name]; return ok }

// Text returns the text of a row, "" if it was not given.
func (v Values) Text(name string) string { return v.m[name].text }

// Secret returns a ParamSecret, which may have a place to come from
// ([ParseSecret]); the zero Secret if it was not given.
func (v Values) Secret(name string) Secret { return v.m[name].s }

// Bool returns a ParamBool, def if it was not given.
func (v Values) Bool(name string, def bool) bool {
	if x, ok := v.m[name]; ok {
		return x.b
	}
	return def
}

// Int returns a ParamInt, def if it was not given.
func (v Values) Int(name string, def int64) int64 {
	if x, ok := v.m[name]; ok {
		return x.n
	}
	return def
}

// Format prints the names alone: values may be secrets.
func (v Values) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "%q", slices.Sorted(maps.Keys(v.m)))
}

// Duration returns a ParamDuration, def if it was not given.
func (v Values) Duration(name string, def time.Duration) time.Duration {
	if x, ok := v.m[name]; ok {
		return x.d
	}
	return def
}

// ParamKey is how names of parameters are compared.
func ParamKey(name string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "", "\t", "").Replace(name))
}

// ReadParameters reads the parameters by the rows. Every wrong one is
// reported, all in one error of kind [KindConfig]; the values that could be
// read are returned in any case. Empty text counts as not given. With session
// set the Session names count too.
func ReadParameters(rows []Param, session bool, parameters map[string]string) (Values, error) {
	index := make(map[string]*Param)
	for i := range rows {
		r := &rows[i]
		names := append([]string{r.Name}, r.Aliases...)
		if session && r.Session != "" {
			names = append(names, r.Session)
		}
		for _, n := range names {
			index[ParamKey(n)] = r
		}
	}
	vals := Values{make(map[string]value)}
	given := make(map[string]string)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		r := index[ParamKey(name)]
		switch {
		case r == nil:
			errs = append(errs, &ParamError{name, ErrUnknownParameter})
			continue
		case given[r.Name] != "":
			errs = append(errs, &ParamError{name, fmt.Errorf("%w, also as %q", ErrDuplicateParameter, given[r.Name])})
			continue
		}
		given[r.Name] = name
		text := parameters[name]
		if r.Type != ParamSecret {
			text = strings.TrimSpace(text)
		}
		if text == "" {
			continue
		}
		x, err := r.read(text)
		if err != nil {
			errs = append(errs, &ParamError{r.Name, err})
			continue
		}
		vals.m[r.Name] = x
	}
	for _, r := range rows {
		if r.Required && !vals.Has(r.Name) && !failed(errs, r.Name) {
			errs = append(errs, &ParamError{r.Name, ErrParameterRequired})
		}
	}
	if len(errs) > 0 {
		return vals, &Error{Op: "parameters", Kind: KindConfig, Err: errors.Join(errs...)}
	}
	return vals, nil
}

func failed(errs []error, name string) bool {
	return slices.ContainsFunc(errs, func(err error) bool {
		pe, ok := errors.AsType[*ParamError](err)
		return ok && pe.Name == name
	})
}

// read turns text into the row's type. Its errors quote the value, but not a
// secret.
func (r *Param) read(text string) (value, error) {
	x := value{text: text}
	if strings.ContainsFunc(text, isControl) {
		return x, errors.New("the value holds a control character")
	}
	switch r.Type {
	case ParamBool:
		switch strings.ToLower(text) {
		case "true", "yes", "y", "on", "1":
			x.b = true
		case "false", "no", "n", "off", "0":
		default:
			return x, fmt.Errorf("%q is neither TRUE nor FALSE", text)
		}
	case ParamSecret:
		s, err := ParseSecret(text)
		if err != nil {
			return x, err
		}
		x.s = s
	case ParamInt:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return x, fmt.Errorf("%q is not a number", text)
		}
		x.n = n
		if err := r.between(n, ""); err != nil {
			return x, err
		}
	case ParamDuration:
		d, err := readDuration(text)
		if err != nil {
			return x, err
		}
		x.d = d
		if err := r.between(int64(d/time.Second), " seconds"); err != nil {
			return x, err
		}
	}
	if len(r.Choices) > 0 {
		i := slices.IndexFunc(r.Choices, func(c string) bool { return ParamKey(c) == ParamKey(text) })
		if i < 0 {
			return x, fmt.Errorf("%q is not one of %s", text, strings.Join(r.Choices, ", "))
		}
		x.text = r.Choices[i]
	}
	return x, nil
}

func (r *Param) between(n int64, unit string) error {
	if (r.Min != 0 || r.Max != 0) && (n < r.Min || n > r.Max) {
		return fmt.Errorf("%d%s is not between %d and %d", n, unit, r.Min, r.Max)
	}
	return nil
}

func readDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 || n > int64(100*365*24*time.Hour/time.Second) {
			return 0, fmt.Errorf("%q is out of range", text)
		}
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is neither a number of seconds nor a duration such as 1m30s", text)
	}
	return d, nil
}
