import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import oauth.signpost.OAuthConsumer;
import oauth.signpost.OAuthProvider;
import oauth.signpost.commonshttp.CommonsHttpOAuthConsumer;
import oauth.signpost.commonshttp.CommonsHttpOAuthProvider;
import oauth.signpost.signature.HmacSha1MessageSigner;
import oauth.signpost.signature.PlainTextMessageSigner;
import org.apache.http.HttpEntity;
import org.apache.http.NameValuePair;
import org.apache.http.client.entity.UrlEncodedFormEntity;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpGet;
import org.apache.http.client.methods.HttpPost;
import org.apache.http.client.methods.HttpUriRequest;
import org.apache.http.client.utils.URLEncodedUtils;
import org.apache.http.entity.ContentType;
import org.apache.http.entity.FileEntity;
import org.apache.http.entity.StringEntity;
import org.apache.http.entity.mime.MultipartEntityBuilder;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.message.BasicNameValuePair;
import org.apache.http.util.EntityUtils;

/**
 * Drives Signpost as its documentation says: it signs what Apache's HttpClient sends. It talks with
 * the Go test that runs it as the Python drivers do: see ../python/driver.py.
 */
public class SignpostDriver {
    static final Gson gson = new Gson();
    static final BufferedReader in =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    public static void main(String[] argv) throws Exception {
        JsonObject args = gson.fromJson(argv[0], JsonObject.class);
        OAuthConsumer consumer =
                new CommonsHttpOAuthConsumer(text(args, "consumer"), text(args, "consumer_secret"));
        boolean plaintext = text(args, "method").equals("PLAINTEXT");
        consumer.setMessageSigner(plaintext ? new PlainTextMessageSigner() : new HmacSha1MessageSigner());

        JsonObject result = new JsonObject();
        if (text(args, "callback").isEmpty()) {
            consumer.setTokenWithSecret(text(args, "token"), text(args, "secret"));
        } else {
            legs(consumer, args, result);
        }
        JsonArray sent = new JsonArray();
        for (var request : args.getAsJsonArray("requests")) {
            sent.add(send(consumer, request.getAsJsonObject()));
        }
        result.addProperty("token", consumer.getToken());
        result.addProperty("secret", consumer.getTokenSecret());
        result.add("sent", sent);
        JsonObject last = new JsonObject();
        last.add("result", result);
        System.out.println(gson.toJson(last));
    }

    static String text(JsonObject object, String name) {
        return object.has(name) ? object.get(name).getAsString() : "";
    }

    /** Gets an access token in three legs. */
    static void legs(OAuthConsumer consumer, JsonObject args, JsonObject result) throws Exception {
        JsonObject endpoints = args.getAsJsonObject("endpoints");
        OAuthProvider provider = new CommonsHttpOAuthProvider(
                text(endpoints, "request_token"), text(endpoints, "access_token"), text(endpoints, "authorize"));
        String url = provider.retrieveRequestToken(consumer, text(args, "callback"));
        result.addProperty("confirmed", String.valueOf(provider.isOAuth10a()));

        JsonObject question = new JsonObject();
        question.addProperty("ask", "authorize");
        question.addProperty("request_token", consumer.getToken());
        question.addProperty("url", url);
        System.out.println(gson.toJson(question));
        JsonObject answer = gson.fromJson(in.readLine(), JsonObject.class);
        String verifier = text(answer, "verifier");
        if (answer.has("redirect")) {
            for (var p : URLEncodedUtils.parse(URI.create(text(answer, "redirect")), StandardCharsets.UTF_8)) {
                if (p.getName().equals("oauth_verifier")) {
                    verifier = p.getValue();
                }
            }
        }
        provider.retrieveAccessToken(consumer, verifier);
    }

    static JsonObject send(OAuthConsumer consumer, JsonObject r) throws Exception {
        HttpUriRequest request = new HttpGet(text(r, "url"));
        HttpEntity entity = entity(r);
        if (entity != null) {
            HttpPost post = new HttpPost(text(r, "url"));
            post.setEntity(entity);
            request = post;
        }
        JsonObject sent = new JsonObject();
        sent.add("name", r.get("name"));
        consumer.sign(request);
        try (CloseableHttpClient client = HttpClients.createDefault();
                CloseableHttpResponse response = client.execute(request)) {
            sent.addProperty("status", response.getStatusLine().getStatusCode());
            EntityUtils.consume(response.getEntity());
        }
        return sent;
    }

    /** The body of a request that has one, as HttpClient's users make it. */
    static HttpEntity entity(JsonObject r) {
        ContentType type = ContentType.parse(text(r, "content_type").isEmpty() ? "*/*" : text(r, "content_type"));
        switch (text(r, "kind")) {
            case "form":
                List<NameValuePair> form = new ArrayList<>();
                for (var p : r.getAsJsonArray("form")) {
                    JsonArray pair = p.getAsJsonArray();
                    form.add(new BasicNameValuePair(pair.get(0).getAsString(), pair.get(1).getAsString()));
                }
                return new UrlEncodedFormEntity(form, StandardCharsets.UTF_8);
            case "multipart":
                MultipartEntityBuilder parts = MultipartEntityBuilder.create();
                for (var p : r.getAsJsonArray("form")) {
                    JsonArray pair = p.getAsJsonArray();
                    parts.addTextBody(pair.get(0).getAsString(), pair.get(1).getAsString());
                }
                for (var f : r.getAsJsonArray("files")) {
                    JsonArray file = f.getAsJsonArray();
                    byte[] text = file.get(3).getAsString().getBytes(StandardCharsets.UTF_8);
                    ContentType fileType = ContentType.parse(file.get(2).getAsString());
                    parts.addBinaryBody(file.get(0).getAsString(), text, fileType, file.get(1).getAsString());
                }
                return parts.build();
            case "json":
                return new StringEntity(text(r, "body"), type.withCharset(StandardCharsets.UTF_8));
            case "upload":
                return new FileEntity(new File(text(r, "body_file")), type);
            default:
                return null;
        }
    }
}
