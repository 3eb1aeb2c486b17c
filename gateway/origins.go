package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"

	"stenobus/gateway/dialect"
)

// strangePage refuses a web page that may not connect: one of another host than the one
// it asks, unless Config.Origins has it. Programs send no origin, and always may.
//
// Where nobody is authenticated and only this machine can connect, the host that a page
// names has to be this machine too: a name that its owner lets point to the loopback
// address would pass for the gateway's own otherwise (DNS rebinding).
func (g *Server) strangePage(r *http.Request) *dialect.Refusal {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	u, err := url.Parse(origin)
	if err == nil && g.listed(u.Host) {
		return nil
	}
	open := g.cfg.Auth == nil && g.cfg.PrincipalHeader == ""
	if err == nil && strings.EqualFold(u.Host, r.Host) && !(open && onLoopback(r) && !loopbackName(r.Host)) {
		return nil
	}
	return forbidden(fmt.Sprintf("pages of %.200q may not connect here: --origins has those that may", origin))
}

// listed tells whether a pattern of Config.Origins has a host.
func (g *Server) listed(host string) bool {
	for _, pattern := range g.cfg.Origins {
		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(host)); ok && err == nil {
			return true
		}
	}
	return false
}

func onLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

func loopbackName(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
