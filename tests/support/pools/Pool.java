// SPDX-License-Identifier: Apache-2.0
// Pool PORT VERSION PARALLEL EACH: connections in parallel over one SSLContext, whose session cache they share.
import java.io.*;
import java.net.*;
import java.security.cert.X509Certificate;
import java.util.*;
import java.util.concurrent.*;
import javax.net.ssl.*;

public class Pool {
    static class Trusting implements X509TrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}
        public void checkServerTrusted(X509Certificate[] chain, String type) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }
    static String once(SSLContext context, int port, String version) throws Exception {
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port)) {
            socket.setEnabledProtocols(new String[] {version});
            socket.getOutputStream().write("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n".getBytes());
            return new String(socket.getInputStream().readAllBytes());
        }
    }
    public static void main(String[] words) throws Exception {
        int port = Integer.parseInt(words[0]), parallel = Integer.parseInt(words[2]), each = Integer.parseInt(words[3]);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Trusting()}, null);
        once(context, port, words[1]);
        ExecutorService pool = Executors.newFixedThreadPool(parallel);
        List<Future<String>> answers = new ArrayList<>();
        for (int i = 0; i < parallel * each; i++) answers.add(pool.submit(() -> once(context, port, words[1])));
        for (Future<String> answer : answers) System.out.println(answer.get());
        pool.shutdown();
    }
}
