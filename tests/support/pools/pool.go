// SPDX-License-Identifier: Apache-2.0
// pool PORT VERSION PARALLEL EACH: connections in parallel over one tls.Config, whose session cache they share.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func main() {
	parallel, _ := strconv.Atoi(os.Args[3])
	each, _ := strconv.Atoi(os.Args[4])
	version := map[string]uint16{"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}[os.Args[2]]
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, ServerName: "a.test", MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(64)}}}
	once := func() {
		answer, err := client.Get("https://127.0.0.1:" + os.Args[1] + "/")
		if err != nil {
			panic(err)
		}
		text, _ := io.ReadAll(answer.Body)
		fmt.Print(string(text))
	}
	once()
	var lines sync.WaitGroup
	for i := 0; i < parallel; i++ {
		lines.Add(1)
		go func() {
			defer lines.Done()
			for j := 0; j < each; j++ {
				once()
			}
		}()
	}
	lines.Wait()
}
