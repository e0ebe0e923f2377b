package driver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A Registry opens drivers by their documented names. A host fills it with
// what it links; nothing registers itself. The zero value is empty and ready;
// any number of goroutines may use it.
type Registry struct {
	mu      sync.RWMutex
	entries map[string]entry
}

type entry struct {
	name   string
	halves []Params // one, or the polling half and the sending half
}

// Add registers a driver under name, e.g. "POP3". A name given twice panics,
// as the program is wrong then.
func (r *Registry) Add(name string, p Params) { r.add(name, p) }

// AddPair registers the pair of in, which polls, and out, which sends, e.g.
// "Internet SMTP/POP3 Server".
func (r *Registry) AddPair(name string, in, out Params) { r.add(name, in, out) }

func (r *Registry) add(name string, halves ...Params) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entries == nil {
		r.entries = make(map[string]entry)
	}
	key := ParamKey(name)
	if _, ok := r.entries[key]; ok {
		panic("driver: " + name + " is registered twice")
	}
	r.entries[key] = entry{name, halves}
}

// Names lists the registered drivers, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var names []string
	for _, e := range r.entries {
		names = append(names, e.name)
	}
	slices.Sort(names)
	return names
}

// Rows returns the parameters that the named driver takes, each once, in the
// order of its table.
func (r *Registry) Rows(name string) ([]Param, error) {
	e, err := r.find(name)
	if err != nil {
		return nil, err
	}
	return e.rows(), nil
}

func (r *Registry) find(name string) (entry, error) {
	r.mu.RLock()
	e, ok := r.entries[ParamKey(name)]
	r.mu.RUnlock()
	if !ok {
		return e, &Error{Op: "open", Kind: KindConfig, Err: fmt.Errorf("driver %q is not one of: %s", name, strings.Join(r.Names(), ", "))}
	}
	return e, nil
}

// rows joins the tables of the halves. A row that both have is required if
// either says so.
func (e entry) rows() []Param {
	var rows []Param
	at := make(map[string]int)
	for _, h := range e.halves {
		for _, row := range h.Rows {
			if i, ok := at[row.Name]; ok {
				rows[i].Required = rows[i].Required || row.Required
				continue
			}
			at[row.Name] = len(rows)
			rows = append(rows, row)
		}
	}
	return rows
}

// Open makes a driver of documented parameters. opts come after them and so
// win. Everything that is wrong, in the parameters and the options, is
// reported at once in an error of kind [KindConfig]; nothing is contacted.
func (r *Registry) Open(name string, parameters map[string]string, opts ...Option) (Driver, error) {
	e, err := r.find(name)
	if err != nil {
		return nil, err
	}
	var errs []error
	vals, err := ReadParameters(e.rows(), len(e.halves) == 1, parameters)
	if err != nil {
		errs = append(errs, err)
	}
	sorted := e.sort(opts, &errs)
	addrs := make([]string, len(e.halves))
	for i, h := range e.halves {
		addr, hopts, err := h.Options(vals)
		if err != nil {
			errs = append(errs, err)
		}
		addrs[i], sorted[i] = addr, append(hopts, sorted[i]...)
		if err := Apply(sorted[i], h.Targets()...); err != nil {
			errs = append(errs, err)
		}
	}
	opened := make([]Driver, 0, len(e.halves))
	if len(errs) == 0 { // else New would only say again what is missing
		for i, h := range e.halves {
			d, err := h.New(addrs[i], sorted[i]...)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			opened = append(opened, d)
		}
	}
	if len(errs) > 0 {
		for _, d := range opened {
			_ = d.Close()
		}
		return nil, configError(e.name, errs)
	}
	if len(opened) == 1 {
		return opened[0], nil
	}
	return Pair(opened[0], opened[1])
}

// sort gives each half the options it takes; one that no half takes is an
// error.
func (e entry) sort(opts []Option, errs *[]error) [][]Option {
	sorted := make([][]Option, len(e.halves))
	for _, o := range opts {
		taken := o.target == nil
		for i, h := range e.halves {
			if o.target == nil || o.find(h.Targets()) != nil {
				sorted[i] = append(sorted[i], o)
				taken = true
			}
		}
		if !taken {
			*errs = append(*errs, &OptionError{o.name, ErrMisplaced})
		}
	}
	return sorted
}

// configError joins errors, taking nested lists apart and each text once, so
// that a row that both halves find wrong is told once.
func configError(name string, errs []error) error {
	seen := make(map[string]bool)
	var flat []error
	var walk func(err error)
	walk = func(err error) {
		if de, ok := err.(*Error); ok && de.Kind == KindConfig { //nolint:errorlint // only our own wrapping is undone
			walk(de.Err)
			return
		}
		if m, ok := err.(interface{ Unwrap() []error }); ok {
			for _, x := range m.Unwrap() {
				walk(x)
			}
			return
		}
		if pe, ok := errors.AsType[*ParamError](err); ok && errors.Is(err, ErrParameterRequired) && failed(flat, pe.Name) {
			return // it was given, and what is wrong with it was told
		}
		if err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			flat = append(flat, err)
		}
	}
	for _, err := range errs {
		walk(err)
	}
	return &Error{Op: "open " + name, Kind: KindConfig, Err: errors.Join(flat...)}
}

// Faults lists what is wrong with a configuration, one error each: the parts
// of an error of [Registry.Open], [Apply] or [ReadParameters].
func Faults(err error) []error {
	if err == nil {
		return nil
	}
	ce := &Error{}
	if !errors.As(configError("", []error{err}), &ce) {
		return []error{err}
	}
	if m, ok := ce.Err.(interface{ Unwrap() []error }); ok {
		return m.Unwrap()
	}
	return []error{err}
}
